"""The page: a tab for each use of the cascade, the video as its stages finish it, and a gallery."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from . import pieces
from .handlers import Handlers
from .service import Service
from .settings import SETTINGS, Setting
from .uses import USES, Use

SYSTEM_FONTS = ["system-ui", "sans-serif"]  # no fonts are loaded from other servers
THEME = gr.themes.Default(font=SYSTEM_FONTS, font_mono=["ui-monospace", "monospace"], primary_hue="indigo")
FOLDER = Path(__file__).parent
INTRO = "# lightning-mav\nText to video, learnt without any text-video pair. Videos are made one at a time."
# The job in the page's address, or the newest one that this browser remembers.
FIND_JOB = "(id, ids) => [new URLSearchParams(location.search).get('job') || (ids || [])[0] || '', ids]"
SHOW_JOB = "(id) => { if (id) history.replaceState(null, '', '?job=' + id); }"


def _only_uploads(block: Any) -> None:
    """Makes a field refuse paths and addresses, which Gradio would read: any field can be sent one.

    Gradio itself compares paths with its upload folder only in a page that ``launch()`` started; this one is
    mounted in an application.
    """
    move = block.async_move_resource_to_block_cache

    async def checked(path: str | Path | None) -> str | None:
        if path is not None and not _is_upload(path):
            raise gr.Error("Send the file itself: addresses and paths are not read.", print_exception=False)
        found: str | None = await move(path)
        return found

    # Not a subclass: Gradio writes type stubs of subclasses beside the source.
    block.async_move_resource_to_block_cache = checked


def _is_upload(path: str | Path) -> bool:
    """Whether a path that a client names is that of a file which a client has sent."""
    place = Path(path).resolve()
    return place.is_relative_to(Path(get_upload_folder()).resolve()) and place.is_file()


def build_page(service: Service) -> gr.Blocks:
    """Builds the page.

    Args:
        service: The cascade, the queue and the limits behind it.
    """
    handlers = Handlers(service)
    with gr.Blocks(title="lightning-mav", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(INTRO)
        ids = gr.BrowserState([], storage_key="mav-jobs", secret="mav")  # jobs of this browser, newest first
        current = gr.Textbox(visible="hidden", elem_id="mav-current", label="Job")
        forms: list[Any] = []
        with gr.Tabs() as tabs:
            for name, use in USES.items():
                with gr.Tab(use.title, id=name):
                    forms += _tab(name, use, service.examples, handlers, current)
        cancel, outputs = _result()
        gallery = gr.HTML(elem_id="mav-gallery")
        gr.Markdown(f"{service.limits.text()} Videos are kept until newer ones need the space.")
        outputs = [*outputs, cancel, gallery]
        hidden: Any = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
        watch: Any = {"concurrency_limit": None, "show_progress": "hidden", "trigger_mode": "multiple"}
        current.change(handlers.watch, [current, ids], outputs, api_name="watch", **watch)
        current.change(handlers.remember, [current, ids], ids, **hidden)
        current.change(None, current, None, js=SHOW_JOB)
        cancel.click(handlers.cancel, current, None, api_name="cancel", show_progress="hidden")
        found = page.load(handlers.found, [current, ids], current, js=FIND_JOB, **hidden)
        found.then(handlers.fill, current, [tabs, *forms], **hidden)
    for block in page.blocks.values():
        _only_uploads(block)
    page.queue(max_size=200, default_concurrency_limit=4)
    return page


def _tab(name: str, use: Use, examples: Sequence[str], handlers: Handlers, current: gr.Textbox) -> list[Any]:
    """Draws a tab, and returns its fields: what it takes, and its settings."""
    gr.Markdown(use.text)
    inputs: list[Any] = []
    triggers = []
    if use.files:
        for number, kind in enumerate(use.files, 1):
            label = kind.capitalize() + (f" {number}" if len(use.files) > 1 else "")
            inputs.append(gr.File(label=label, file_count="single", height=120))
    else:
        for label in use.prompts:
            prompt = gr.Textbox(
                label=label, placeholder="a red car", lines=1, max_lines=4, autofocus=len(use.prompts) == 1
            )
            inputs.append(_unchanged(prompt))
            triggers.append(prompt.submit)
            with gr.Row(elem_classes="mav-examples"):
                for text in examples:
                    gr.Button(text, size="sm", min_width=60).click(None, None, prompt, js=f"() => {text!r}")
    button = gr.Button(use.title, variant="primary", elem_id=f"mav-{name}")
    with gr.Accordion("Settings", open=False):
        inputs += [_unchanged(_field(SETTINGS[each])) for each in use.all_settings]
    gr.on(
        [button.click, *triggers],
        partial(handlers.submit, name),
        inputs,
        current,
        api_name=name,
        show_progress="hidden",
        concurrency_limit=4,
        concurrency_id="submit",
    )
    return inputs


def _unchanged(field: Any) -> Any:
    """Lets a field pass on what it is sent: ``requests`` refuses it with a message that helps."""
    field.preprocess = lambda value: value
    return field


def _field(setting: Setting) -> gr.components.Component:
    if setting.kind is bool:
        return gr.Checkbox(setting.default, label=setting.label)
    limits: Any = {"label": setting.label, "info": setting.info or None}
    if setting.default is None or setting.high > 1000:
        # The server checks the number. Its message says more than a field that changes it by itself.
        return gr.Number(
            setting.default, placeholder="automatic" if setting.default is None else None, **limits
        )
    step = 1 if setting.kind is int else 0.1
    return gr.Slider(setting.low, setting.high, setting.default, step=step, **limits)


def _result() -> tuple[gr.Button, list[Any]]:
    """Draws the parts that show a job: its status, its progress bar, its three videos and its downloads."""
    status = gr.HTML("<p class='mav-state'>Your video will appear here.</p>", elem_id="mav-status")
    with gr.Row(elem_id="mav-going"):
        progress = gr.HTML(elem_id="mav-progress")
        cancel = gr.Button("Cancel", visible=False, elem_id="mav-cancel", size="md", scale=0, min_width=100)
    with gr.Row(elem_id="mav-videos"):
        slots = [gr.HTML(elem_id=f"mav-slot-{i}") for i in range(len(pieces.SLOTS))]
    downloads = gr.HTML(elem_id="mav-downloads")
    return cancel, [status, progress, *slots, downloads]
