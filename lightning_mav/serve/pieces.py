"""The parts of the page that change, as HTML."""

import json
import shlex
from collections.abc import Sequence
from html import escape

from ..stage_table import stages
from .formats import FORMATS, OPAQUE
from .job import CANCELLED, DONE, FAILED, LIVE, RUNNING, Job
from .settings import SETTINGS
from .uses import USES

SLOTS = ("Key frames", "Smooth", "Sharp")
# The status while a stage is at work.
DOING = {"prior": "Reading the prompt", "decoder": "Drawing key frames", "interpolation": "Making it smooth"}


def slot_of(stage: str) -> int:
    """Returns the index in ``SLOTS`` of a stage's video."""
    spec = stages()[stage]
    return 0 if "video" not in spec.inputs else 1 if spec.adds_frames else 2


def status_text(job: Job, place: int) -> str:
    """Returns the status of a job. It changes seldom, because screen readers read it aloud.

    Args:
        job: The job.
        place: Jobs before it in the queue.
    """
    if job.state in LIVE and not job.begun:
        before = f"{place} video{'s' * (place > 1)} before yours" if place else "yours is next"
        return f"In the queue: number {place + 1}; {before}."
    if job.state == RUNNING:
        return f"{DOING.get(job.stage, 'Making it sharp' if job.stage else 'Starting')} ..."
    if job.state == CANCELLED:
        return "Cancelled."
    if job.state == FAILED:
        return f"Not made. {job.message}"
    return f"Done in {job.seconds:.1f} seconds."


def status(job: Job, place: int) -> str:
    """Shows the status of a job, and its note if there is one."""
    note = f"<p class='mav-note'>{escape(job.note[:1].upper() + job.note[1:])}</p>" if job.note else ""
    kind = " mav-bad" if job.state == FAILED else ""
    return f"<p class='mav-state{kind}'>{escape(status_text(job, place))}</p>{note}"


def progress(job: Job, place: int, length: int, wait: float) -> str:
    """Draws the bar, the time left and the queue.

    Args:
        job: The job.
        place: Jobs before it in the queue.
        length: Jobs in the queue.
        wait: Seconds until the job starts.
    """
    if job.state not in LIVE:
        return ""
    share, left = job.share, job.left + wait
    label = f"{share:.0%}" if job.begun else "waiting"
    bar = (
        f"<progress max='1' value='{share:.3f}' aria-label='Progress of your video'></progress>"
        f"<span class='mav-left'>{label}, {_time(left)} left</span>"
    )
    marks = "".join(
        f"<li class='{'mav-own' if i == place else ''}'>{'yours' if i == place else i + 1}</li>"
        for i in range(length)
    )
    queue = f"<ol class='mav-queue' aria-label='Queue: yours is number {place + 1} of {length}'>{marks}</ol>"
    return f"<div class='mav-bar'>{bar}</div>{queue if length > 1 else ''}"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min"


def videos(job: Job) -> list[str]:
    """Returns the newest video for each of ``SLOTS``, or an empty text if there is none yet."""
    shown = ["" for _ in SLOTS]
    for stage in job.stages:
        slot = slot_of(stage["name"])
        size = f"{stage['width']} x {stage['height']}"
        label = f"{SLOTS[slot]}: {title_of(job)}"
        shown[slot] = (
            f"<figure class='mav-video'><video src='jobs/{job.id}/{stage['name']}.mp4' controls autoplay "
            f"loop muted playsinline aria-label='{escape(label)}'></video><figcaption><b>{SLOTS[slot]}</b> "
            f"{stage['frames']} frames, {size}, {stage['fps']:g} per second</figcaption></figure>"
        )
    return shown


def title_of(job: Job) -> str:
    """Returns the title of a job: its prompt, or the name of its tab and of its files."""
    return job.prompt if not USES[job.use].files else f"{USES[job.use].title}: {job.prompt}"


def downloads(job: Job) -> str:
    """Lists the formats in which a finished video can be downloaded."""
    if job.state != DONE:
        return ""
    links = [_link(job, name, title, "") for name, (title, _, _) in FORMATS.items()]
    text = f"<div class='mav-files'><h3>Download</h3>{''.join(links)}"
    if job.ground:
        clear = [
            _link(job, name, title, "-clear") for name, (title, _, _) in FORMATS.items() if name not in OPAQUE
        ]
        text += f"<h3>With a transparent background</h3>{''.join(clear)}"
    return text + "</div>"


def _link(job: Job, name: str, title: str, clear: str) -> str:
    return f"<a class='mav-file' href='jobs/{job.id}/download/{name}{clear}' download>{title}</a>"


def command(job: Job) -> str:
    """Returns the command that makes the same video; its files are called FILE1 and FILE2."""
    inputs = [f"FILE{i + 1}" for i in range(len(job.files))] or [
        shlex.quote(prompt) for prompt in job.prompts
    ]
    words = []
    for name, value in job.settings.items():
        if value is None or value is False:
            continue
        words.append(f"--{SETTINGS[name].option or name.replace('_', '-')}")
        if value is not True:
            words.append(str(value))
    words += ["--weights", shlex.quote(job.weights)] if job.weights else []
    begin = ["mav", job.use]
    if any(each.startswith(("-", "'-")) for each in inputs):  # else it would be read as an option
        return " ".join([*begin, *words, "--", *inputs])
    return " ".join([*begin, *inputs, *words])


def gallery(jobs: Sequence[Job]) -> str:
    """Shows the finished videos of a browser, newest first, with their settings."""
    cards = [_card(job) for job in jobs if job.state == DONE]
    if not cards:
        return ""
    return f"<h2>Your videos</h2><ul class='mav-gallery'>{''.join(cards)}</ul>"


def _card(job: Job) -> str:
    title, last = escape(title_of(job)), job.stages[-1]["name"]
    lines = [f"{name.replace('_', ' ')} {value}" for name, value in job.settings.items() if value is not None]
    copied = json.dumps({"use": job.use, "prompts": job.prompts, **job.settings}, ensure_ascii=False)
    return (
        f"<li><a href='?job={job.id}' aria-label='Open: {title}'><video src='jobs/{job.id}/{last}.mp4#t=0.1' "
        f"muted loop playsinline preload='metadata' tabindex='-1' class='mav-hover'></video>"
        f"<span>{title}</span></a><p>{escape(', '.join(lines))}</p>"
        f"{_copy('settings', copied)}{_copy('command', command(job))}</li>"
    )


def _copy(what: str, text: str) -> str:
    return f"<button type='button' class='mav-copy' data-text='{escape(text)}'>Copy {what}</button>"
