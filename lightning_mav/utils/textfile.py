r"""Reading and writing text files: UTF-8 whatever the locale, with the line ends of all editors.

A byte order mark, which editors on Windows put first, is dropped. A line ends at ``\n``, ``\r\n``
or ``\r``. ``str.splitlines`` is not used for files: it also ends lines at U+0085, U+2028 and other
characters that may stand within a caption.
"""

import codecs
import json
import re
import unicodedata
from pathlib import Path
from typing import Any

from .errors import BadValueError, UsageError
from .paths import replacing

MAX_TEXT_BYTES = 2**31  # a device such as /dev/zero has no end
MARK = "\ufeff"
MARKS = re.compile("(?:\\A|(?<=[\n\r]))\ufeff+")  # files joined end to end have some inside
LINE_END = re.compile("\r\n|\n|\r")
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # UTF-32 begins as UTF-16 does


def decode_text(data: bytes) -> str:
    """Returns the text of a file's bytes, without byte order marks at the start of lines.

    Raises:
        ValueError: If it is not UTF-8. The message says so before its first colon, then which byte is wrong.
    """
    if data.startswith(UTF16):
        raise ValueError("not UTF-8: its first bytes are those of UTF-16")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = f"byte {error.start}{_place(data, error.start)} is 0x{data[error.start]:02x}"
        raise ValueError(f"not UTF-8: {wrong}, as in Latin-1 or another encoding") from None
    if "\0" in text:
        place = data.index(b"\0")
        where = f"{place}{_place(data, place)}"
        raise ValueError(f"not UTF-8: byte {where} is zero, as in UTF-16 or a file that is no text")
    return MARKS.sub("", text) if MARK in text else text


def _place(data: bytes, at: int) -> str:
    """Names the line that a byte is in; nothing if it is the first."""
    number = len(re.findall(rb"\r\n|\n|\r", data[:at]))
    return f" (line {number + 1})" if number else ""


def decode_caption(data: bytes) -> str:
    """Returns the caption that a text file holds.

    Raises:
        ValueError: If it is not UTF-8, or is blank.
    """
    try:
        caption = decode_text(data).strip()
    except ValueError as error:
        raise ValueError(f"caption is {error}") from None
    if is_blank(caption):
        raise ValueError("no caption")
    return caption


def split_lines(text: str) -> list[str]:
    """Returns the lines of a text, without their ends."""
    lines = LINE_END.split(text)
    if not lines[-1]:
        lines.pop()  # what follows the last line end
    return lines


def read_text(path: Path, remedy: str) -> str:
    """Reads a text file.

    Args:
        path: The file.
        remedy: What to do if it cannot be read, for the error.

    Raises:
        UsageError: If it cannot be read, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
        if len(data) > MAX_TEXT_BYTES:
            raise ValueError(f"too large for a text file: it has more than {MAX_TEXT_BYTES} bytes")
        return decode_text(data)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from error
    except ValueError as error:
        raise UsageError(f"{path}: is {error}; save it as UTF-8, or {remedy}") from error


def read_lines(path: Path, remedy: str) -> list[str]:
    """Reads the lines of a text file, without their ends; raises as ``read_text`` does."""
    return split_lines(read_text(path, remedy))


def read_prompts(path: Path, option: str = "--prompts") -> list[str]:
    """Reads prompts from a text file, one a line.

    White space within a line counts as one space. Blank lines, and lines that begin with ``#``, are left out.

    Args:
        path: The file.
        option: The option that names it, for the error.

    Raises:
        UsageError: If it cannot be read, is not UTF-8 (the message names the line), or holds no prompts.
    """
    lines = [" ".join(line.split()) for line in read_lines(path, "name a text file with one prompt per line")]
    prompts = [line for line in lines if not is_blank(line) and not line.startswith("#")]
    if not prompts:
        raise UsageError(f"{option} {path}: has no prompts; write one per line")
    return prompts


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8; bytes of file names that are not UTF-8 are written as escapes."""
    path.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: Any, *, indent: int | None = 2) -> None:
    """Writes JSON, in short form without ``indent``; readers never see half of it."""
    separators = (",", ":") if indent is None else None
    with replacing(path) as part:
        write_text(part, json.dumps(content, indent=indent, separators=separators) + "\n")


def parse_json(data: bytes) -> Any:
    """Parses JSON.

    Raises:
        ValueError: If it is no JSON, not UTF-8, or nested too deeply to be read.
    """
    try:
        return json.loads(decode_text(data))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def check_texts(name: str, value: Any) -> list[str]:
    """Returns one text or several as a list.

    Raises:
        ValueError: If there are none, or they are no texts, naming them.
    """
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(each, str) for each in texts):
        raise BadValueError(f"{name} must be a text or a list of texts, got {shortened(repr(value))}")
    return [*texts]


def is_blank(text: str) -> bool:
    """Whether a text has no visible character, only spaces, control characters and the like."""
    return not any(char.isprintable() and not char.isspace() for char in text)


def has_surrogates(text: str) -> bool:
    """Whether a text holds surrogates, which come from bytes that are not UTF-8, or from bad JSON."""
    return any("\ud800" <= char <= "\udfff" for char in text)


def printable(text: str) -> str:
    """Returns a text that a terminal shows in one line: control characters and the like become escapes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def slug(text: str, length: int = 60) -> str:
    """Returns a text as a name of a file: its first letters and digits, which any file system allows.

    Nothing is left of a text without Latin letters and digits.
    """
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")[:length].strip("-")


def shortened(value: Any, length: int = 40) -> str:
    """Returns a value as a short text of one line; of a long one, its beginning and its length."""
    try:
        text = str(value)
    except ValueError:  # Python does not write whole numbers of more than 4300 digits
        return "a number of thousands of digits"
    return printable(text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)")
