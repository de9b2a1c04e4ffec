"""Damage to files: bytes flipped, cut, moved and overwritten, fields of headers changed, words exchanged."""

import re
from collections.abc import Callable
from random import Random

Mutation = Callable[[bytes, Random], bytes]

# What a field of a header may claim, by its number of bytes.
EXTREMES = {
    size: [0, 1, 2, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 2, 2 ** (8 * size) - 1]
    for size in (1, 2, 4, 8)
}
HEAD = 512  # bytes at the start of a file that are mostly headers
TAG = re.compile(rb"[A-Za-z][A-Za-z0-9 ]{3}")  # names of chunks, boxes and codecs
WORDS = """null true -1 0 1e400 -0.0 .nan .inf 2147483648 0x7f 1_000 {} [] [[[[[[ &a *b <<
    ' " # : % @ | > ? --- ... None ../.. 2020-01-01 ${x} ${oc.env:HOME}"""
NASTY = (
    *WORDS.split(),
    *("", "1" * 400, "a" * 5000, "[" * 2000, "{a: {", "&a [*a]", "- -", "? ", '"\\u0000"', "!!binary ="),
    *("!!python/object/apply:os.getcwd []", "\0", "\t", "\ufeff", "\u2028", "\xe9", "\U0001f534"),
)
WORD = re.compile(r"[^\s:,\[\]{}\"']+")


def flip(data: bytes, rng: Random) -> bytes:
    """Flips a few bits."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(data: bytes, rng: Random) -> bytes:
    """Puts random bytes over a few."""
    start, size = rng.randrange(len(data)), rng.choice((1, 2, 4, 16))
    return data[:start] + rng.randbytes(min(size, len(data) - start)) + data[start + size :]


def cut_end(data: bytes, rng: Random) -> bytes:
    """Leaves the end out, as a transfer that breaks off does."""
    return data[: rng.randrange(len(data))]


def cut_block(data: bytes, rng: Random) -> bytes:
    """Leaves out what is between two places."""
    start, end = _block(data, rng)
    return data[:start] + data[end:]


def double_block(data: bytes, rng: Random) -> bytes:
    """Repeats what is between two places."""
    start, end = _block(data, rng)
    return data[:end] + data[start:]


def zero_block(data: bytes, rng: Random) -> bytes:
    """Puts zeros between two places, as a file system that lost them does."""
    start, end = _block(data, rng)
    return data[:start] + bytes(end - start) + data[end:]


def swap_blocks(data: bytes, rng: Random) -> bytes:
    """Exchanges two neighbouring blocks."""
    start, end = _block(data, rng)
    middle = rng.randint(start, end)
    return data[:start] + data[middle:end] + data[start:middle] + data[end:]


def set_field(data: bytes, rng: Random) -> bytes:
    """Gives a number in a header another value: extreme, or a little off."""
    tags = [match.start() for match in TAG.finditer(data[: 2**16])]
    if tags and rng.random() < 0.6:
        start = rng.choice(tags) + rng.randrange(-8, 40)
    else:
        start = rng.randrange(min(HEAD, len(data)))
    size = rng.choice((1, 2, 4, 4, 4, 8))
    start = min(max(0, start), len(data) - 1)
    field = data[start : start + size]
    order = rng.choice(("big", "little"))
    value = int.from_bytes(field, order)
    values = [*EXTREMES[size], value + 1, value - 1, 2 * value, value // 2, rng.randrange(256**size)]
    changed = (rng.choice(values) % 256**size).to_bytes(size, order)
    return data[:start] + changed[: len(field)] + data[start + len(field) :]


BYTES: tuple[Mutation, ...] = (
    *(flip, flip, flip, overwrite, cut_end, cut_block, double_block),
    *(zero_block, swap_blocks, set_field, set_field, set_field),
)


def mutate(data: bytes, rng: Random) -> bytes:
    """Damages a file in one way, or now and then in two; never returns what it was given."""
    changed = data
    for _ in range(rng.choice((1, 1, 1, 2))):
        if changed:
            changed = rng.choice(BYTES)(changed, rng)
    return changed if changed != data else flip(data, rng)


def mutate_text(data: bytes, rng: Random) -> bytes:
    """Damages a text: words and lines exchanged, left out and repeated, or its bytes as of any file."""
    if rng.random() < 0.25:
        return mutate(data, rng)
    text = data.decode()
    for _ in range(rng.choice((1, 1, 2))):
        text = rng.choice((_replace_word, _replace_word, _swap_words, _change_lines))(text, rng)
    changed = text.encode(errors="surrogatepass")
    return changed if changed != data else flip(data, rng)


def _replace_word(text: str, rng: Random) -> str:
    words = [*WORD.finditer(text)]
    if not words:
        return rng.choice(NASTY)
    word = rng.choice(words)
    return text[: word.start()] + rng.choice(NASTY) + text[word.end() :]


def _swap_words(text: str, rng: Random) -> str:
    words = [*WORD.finditer(text)]
    if len(words) < 2:
        return text
    one, two = sorted(rng.sample(words, 2), key=lambda match: match.start())
    return text[: one.start()] + two[0] + text[one.end() : two.start()] + one[0] + text[two.end() :]


def _change_lines(text: str, rng: Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    at = rng.randrange(len(lines))
    way = rng.randrange(4)
    if way == 0:
        lines[at:at] = [rng.choice(lines)]
    elif way == 1:
        lines[at] = "  " * rng.randrange(1, 4) + lines[at]
    elif way == 2:
        lines[at] = lines[at].lstrip()
    else:
        del lines[at]
    return "".join(lines)


def _block(data: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 16, 256, rng.randrange(1, len(data) + 1))))
