"""The report of an evaluation on the emoji, and its tables."""

from ...report import Report, Table
from .results import EmojiEvaluation, Share

NOTES = """Appearance: a network that was trained for nothing but telling the stills apart, on stills and on
frames of clips that training shows, finds the still nearest to the frames of a video. Thing and tone must be
those that the prompt names. Rows "true clips" are the ceiling: true clips of the same prompts. "videos of
other prompts" is the control: each prompt is compared with the video of another one.

Motion: the rank of the true animation. Videos of hidden animations are ranked against all hidden animations,
none of which training saw; videos of animations from training against those from training, which shows how
well they were learnt. A video is described by where its edges are at each time, less their mean over time.
Its fit to an animation is the cosine of both at the best phase, counted in standard deviations above the
cosines of the same frames in random orders. So only the order of the frames counts. Controls: "static"
repeats a true frame. "shuffled" puts the generated frames in a random order. "jittered" shifts a true frame
at random. "untrained temporal layers" draws each frame independently. These should be at chance. "another's
animation" is the true clip of another thing, and should be below chance, because that other thing then comes
first. The ceilings are true clips of the animation itself and of the same thing in another tone.

Words: the still nearest to a name by CLIP. Names that are a phrase of a training caption are counted apart.
The control asks for each emoji by the name of another.

FVD is computed with this project's own network, so it can be compared with other FVD of this report alone.
The row "true, from another phase" is its floor: the same animations, cut elsewhere. "shuffled" here puts true
frames in a random order.
Intervals are Wilson's or bootstrapped, 95%. Movement is the mean change from frame to frame, the loop gap the
change from the last frame to the first."""


def title_of(scope: str) -> str:
    """Returns the title of the report on ``cascade``, ``decoder`` or ``image``."""
    return f"The emoji, {scope}"


def to_report(found: EmojiEvaluation, scope: str) -> Report:
    """Builds the report; the caller adds samples, images, settings, weights and so on."""
    return Report(
        bench="emoji",
        title=title_of(scope),
        notes=NOTES,
        figures=found.figures,
        tables=tables(found),
        seconds=dict(found.seconds),
        details={
            "stage": scope,
            "appearance": found.appearance,
            "motion": found.motion,
            "words": found.words,
            "stages": found.stages,
            "fvd": found.fvd,
            "amounts": found.amounts,
            "ranks": {found.prompts.entries[row].code: rank for row, rank in found.ranks.items()},
        },
    )


def tables(found: EmojiEvaluation) -> list[Table]:
    """Returns the tables of a report."""
    rows = [
        [kind, *(percent(shares.get(key)) for key in ("both", "thing", "tone")), str(shares["both"]["n"])]
        for kind, shares in found.appearance.items()
    ]
    made = [Table("Appearance, percent right", ["videos", "thing and tone", "thing", "tone", "n"], rows)]
    for title, kinds in found.motion.items():
        rows = [
            [kind, percent(shares["top 1"]), percent(shares["top 5"]), str(shares["top 1"]["n"] or "-")]
            for kind, shares in kinds.items()
        ]
        made.append(Table(f"Own animation among {title}, percent", ["videos", "top 1", "top 5", "n"], rows))
    rows = [
        [kind, percent(shares["top 1"]), percent(shares["top 5"]), str(shares["top 1"]["n"])]
        for kind, shares in found.words.items()
    ]
    made.append(Table("Words that find the right thing, percent", ["names", "top 1", "top 5", "n"], rows))
    if found.fvd:
        made.append(Table("FVD", ["videos", "FVD"], [[k, f"{v:.2f}"] for k, v in found.fvd.items()]))
    if found.amounts:
        rows = [[kind, *(f"{value:.4f}" for value in own.values())] for kind, own in found.amounts.items()]
        made.append(Table("How much moves", ["videos", "movement", "loop gap"], rows))
    if found.stages:
        made += _stages(found)
    return made


def percent(share: Share | None) -> str:
    """Returns a share and its interval, in percent."""
    if share is None:
        return "-"
    if not share["n"]:
        return f"{100 * share['value']:.1f}"
    return f"{100 * share['value']:.0f} [{100 * share['low']:.0f}, {100 * share['high']:.0f}]"


def _stages(found: EmojiEvaluation) -> list[Table]:
    rows = [
        [name, row["metric"], f"{row['value']:.2f}", f"{row['baseline_value']:.2f}", str(row["n"])]
        for name, entry in found.stages.items()
        for row in entry["comparisons"]
    ]
    made = []
    if rows:  # pictures of a world may be too small to be compared
        title = "Super-resolution beside bicubic"
        made.append(Table(title, ["stage", "metric", "value", "bicubic", "n"], rows))
    rows = [
        [name, *(f"{value:.4f}" for value in entry["flicker"].values())]
        for name, entry in found.stages.items()
        if "flicker" in entry
    ]
    if rows:
        title = "Flicker: change from frame to frame where the truth is at rest"
        made.append(Table(title, ["stage", "generated", "bicubic"], rows))
    return made
