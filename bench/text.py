"""Helpers for messages, and escaping of untrusted text for display.

Terminals execute escape sequences (which may clear the screen or set the clipboard), and characters
that change the text direction can disguise a line. Both are shown as their codes: "\\x1b".
"""

import re
import shlex
import shutil
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar

import msgspec

Log = Callable[[str], None]  # receives one line to show: progress, a notice or a warning


def count(number: int, singular: str, plural: str = "") -> str:
    """A number with its noun: "1 cell", "2 cells"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def code(name: str) -> str:
    """A name for use in a sentence: between backticks, on one line."""
    return "`" + " ".join(name.replace("`", "'").split()) + "`"


def listed(names: Sequence[str], most: int = 6) -> str:
    """Up to `most` names, and the number of further ones: "`a`, `b` and 3 more"."""
    shown = ", ".join(map(code, names[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def points(value: float) -> str:
    """A difference in percentage points with its sign: "+0.25"; "0.00" has none."""
    text = f"{value:+.2f}"
    return text if float(text) else "0.00"


def shell_command(words: Iterable[str]) -> str:
    """A command line as a person would type it: quoted where a shell needs it, home as "~"."""
    try:
        home = str(Path.home())
    except RuntimeError:  # no HOME, and no passwd entry
        home = ""
    if home == "/" or not Path(home).is_absolute():
        home = ""
    return " ".join(_shell_word(word, home) for word in words)


def _shell_word(word: str, home: str) -> str:
    option, equals, value = word.partition("=")
    if home and word == home:
        return "~"
    if home and word.startswith(f"{home}/"):
        return "~/" + shlex.quote(word.removeprefix(f"{home}/"))  # a shell expands no quoted "~"
    if home and word.startswith(f"folder:{home}/"):
        return shlex.quote(f"folder:~/{word.removeprefix(f'folder:{home}/')}")  # bench expands it
    if equals and option.startswith("--") and _shell_word(value, home) != shlex.quote(value):
        return f"{option} {_shell_word(value, home)}"  # no shell expands "~" after "--option="
    return shlex.quote(word)


# A command in a sentence: in backticks, or `bench` with its verb and options.
_COMMAND = re.compile(r"`[^`]*`|\bbench [a-z]+(?: -[\w-]+(?:[ =](?:'[^']*'|[^\s'-]\S*))?)*")


def wrapped(text: str, width: int | None, indent: str = "") -> str:
    """The text in lines of at most `width` (None: in one), which break no word and no command."""
    if width is None:
        return text
    joined = _COMMAND.sub(lambda match: match[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(
        joined,
        max(1, width),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace("\0", " ")


def for_terminal(text: str, stream: TextIO, indent: str = "") -> str:
    """The text, wrapped if the stream is a terminal; programs get one line."""
    return wrapped(text, shutil.get_terminal_size().columns, indent) if stream.isatty() else text


ValueT = TypeVar("ValueT")

# Control characters except tab and line feed; line and paragraph separators; characters that change
# the text direction; surrogates, which no encoding accepts.
_UNSAFE = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_MARK = re.compile(f"[{_UNSAFE}]")


def printable(text: str) -> str:
    """The text with every unsafe character written as its code; line feeds and tabs stay."""
    return _MARK.sub(_code, text)


def in_one_line(text: str) -> str:
    """Printable text without line breaks."""
    return printable(" ".join(filter(None, map(str.strip, text.split("\n")))))


def sanitize(value: ValueT, text: bytes | None = None) -> ValueT:
    """A record (any dataclass) with `printable` texts; `text` is its JSON, if it is known."""
    if _is_plain(msgspec.json.encode(value) if text is None else text):
        return value  # fast path for nearly all records
    return msgspec.convert(_all_printable(msgspec.to_builtins(value)), type(value))


def _is_plain(text: bytes) -> bool:
    """Whether JSON contains only ASCII and no escapes."""
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
