"""Small pieces of sentences.

Text from files and from other programs, made safe to show.

A terminal obeys escape sequences (it clears the screen, sets the clipboard), and marks that turn
the direction of writing make a line read as another. Both are shown as what they are: "\\x1b".
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

Log = Callable[[str], None]  # takes one line for people: progress, a notice, a warning


def count(number: int, one: str, many: str = "") -> str:
    """A number with its word: "1 cell", "2 cells"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


ValueT = TypeVar("ValueT")

# All controls but tab and line feed; line and paragraph separators; marks that embed, override or
# isolate a direction; halves of surrogate pairs, which no encoding takes.
_UNSAFE = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_MARK = re.compile(f"[{_UNSAFE}]")
_MARK_IN_JSON = re.compile(rf"\\u00[01]|\\[bfr]|[{_UNSAFE}]")


def printable(text: str) -> str:
    """The same with every such character written as its code; line feeds and tabs stay."""
    return _MARK.sub(_code, text)


def in_one_line(text: str) -> str:
    """Likewise, without line breaks: a sentence for people stays one."""
    return printable(" ".join(filter(None, map(str.strip, text.split("\n")))))


def sanitize(value: ValueT, text: bytes | None = None) -> ValueT:
    """A record (any dataclass) for showing: `printable` is applied to every text in it.

    Args:
        value: The record.
        text: JSON that it was read from, if it was.
    """
    if text is None or not _is_plain(text):
        text = msgspec.json.encode(value)
    if _is_plain(text):
        return value  # as nearly all records: the search below takes five times as long
    if not _MARK_IN_JSON.search(text.decode()):
        return value
    plain = msgspec.to_builtins(value)
    return msgspec.convert(_all_printable(plain), type(value))


def _is_plain(text: bytes) -> bool:
    """Whether JSON has nothing but ASCII, and no escapes."""
    return text.isascii() and not (b"\\" in text or b"\x7f" in text)


def _all_printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _all_printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_all_printable(item) for item in value]
    return value


def _code(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
