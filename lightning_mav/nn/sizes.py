"""Which arguments of the U-Net go together."""

from collections.abc import Mapping
from typing import Any

from ..utils.numbers import check_number


def check_sizes(given: Mapping[str, Any]) -> None:
    """Refuses arguments of the U-Net that are out of their range.

    Raises:
        ValueError: If one is, or does not go with the others.
    """
    mults, levels = given["channel_mults"], given["attention_levels"]
    counts = ("in_channels", "out_channels", "channels", "num_blocks", "head_channels", "norm_groups")
    for name in (*counts, "context_channels"):
        check_number(name, given[name], 1)
    check_number("length of channel_mults", len(mults), 1)
    check_number("lowest of channel_mults", min(mults), 1)
    check_number("cond_channels", given["cond_channels"], 0)
    check_number("image_embed_dim", given["image_embed_dim"], 0)
    check_number("num_text_tokens", given["num_text_tokens"], 0)
    check_number("dropout", given["dropout"], 0, 1)
    if not set(levels) <= set(range(len(mults))):
        raise ValueError(f"attention_levels must lie in 0..{len(mults) - 1}, got {levels}")
    cond, out = given["cond_channels"], given["out_channels"]
    if given["num_text_tokens"] and not given["image_embed_dim"]:
        raise ValueError("num_text_tokens needs image_embed_dim, got 0")
    if given["residual"] and cond < out:
        raise ValueError(f"residual needs cond_channels >= out_channels, got {cond}, {out}")
