"""Checks of what a client asks for: everything that comes from a page is checked before it is queued.

A client sends a prompt, settings and the bytes of files (see ``uploads``). It cannot name a path, an address
or a configuration. If something is refused, a short message says what is allowed.
"""

from typing import Any

from ..utils.numbers import in_range
from ..utils.textfile import has_surrogates, is_blank, shortened
from .limits import Limits, RefusedError
from .settings import SETTINGS
from .uploads import Upload
from .uses import Use


def check_prompt(prompt: Any, limits: Limits) -> str:
    """Returns a prompt without spaces at its ends.

    Raises:
        RefusedError: If it is not a text, is blank or too long, or has characters that are not text.
    """
    if not isinstance(prompt, str) or is_blank(prompt):
        raise RefusedError('Say what to show, such as "a red car".')
    prompt = prompt.strip()
    if len(prompt) > limits.prompt:
        raise RefusedError(f"The prompt has {len(prompt)} characters: at most {limits.prompt} are allowed.")
    if "\0" in prompt or has_surrogates(prompt):
        raise RefusedError("The prompt has characters that are not text: type it again.")
    return prompt


def check_settings(use: Use, values: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of a use, each in its range; a missing one gets its default, which may be None.

    Raises:
        RefusedError: If one is unknown, is not a number, or is out of its range.
    """
    if unknown := set(values) - set(use.all_settings):
        raise RefusedError(f"{shortened(min(map(str, unknown)))} is not a setting of {use.title}.")
    checked: dict[str, Any] = {}
    for name in use.all_settings:
        setting, value = SETTINGS[name], values.get(name)
        if value is None:
            checked[name] = setting.default
        elif setting.kind is bool:
            if not isinstance(value, bool):
                raise RefusedError(f"{setting.label}: must be yes or no, not {shortened(repr(value))}.")
            checked[name] = value
        else:
            whole = setting.kind is int
            if not in_range(value, setting.low, setting.high) or (whole and value != int(value)):
                noun = "a whole number" if whole else "a number"
                allowed = f"from {setting.low} to {setting.high}"
                raise RefusedError(
                    f"{setting.label}: must be {noun} {allowed}, not {shortened(repr(value))}."
                )
            checked[name] = setting.kind(value)
    return checked


def check_result(
    use: Use, settings: dict[str, Any], uploads: list[Upload], limits: Limits, window: int
) -> int:
    """Returns how many frames the result will have.

    Args:
        use: What is asked for.
        settings: Checked settings.
        uploads: Its files.
        limits: What is allowed.
        window: Frames in a window of the interpolation.

    Raises:
        RefusedError: If there are too many, or if an uploaded video has too few.
    """
    if uploads and uploads[0].num_frames < use.least_frames:
        raise RefusedError("The video has one frame, so there is nothing between frames. Try Animate.")
    num_frames = int(use.num_frames(settings, uploads, window))
    if num_frames > limits.frames:
        raise RefusedError(f"The result would have {num_frames} frames: at most {limits.frames} are allowed.")
    return num_frames
