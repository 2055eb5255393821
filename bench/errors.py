"""Errors that are shown to the user as one sentence, without a traceback."""

import re
from collections.abc import Collection

from pipelines.catalog import unknown_name


class BenchError(Exception):
    """Base of all errors whose message is one sentence for the user."""


class UsageError(BenchError):
    """Wrong usage or environment: the command stops with exit code 2 and this sentence."""


def check_choice(noun: str, name: str, known: Collection[str]) -> None:
    """Raises UsageError with similar names if a name is not among the known ones."""
    if name not in known:
        raise UsageError(unknown_name(noun, name, list(known)))


LONGEST_MESSAGE = 4_000  # characters
LONGEST_TRACEBACK = 20_000
_TRACEBACK = "Traceback (most recent call last):\n"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RAISED = re.compile(r"^([A-Za-z_][\w.]*)(?:: (.*))?\Z", re.MULTILINE | re.DOTALL)
_DALI = re.compile(
    r"Critical error in pipeline:|Error in (?:thread \d+|\w+ operator)|Error when executing"
)
_DALI_START = re.compile(
    r"(?:.*\bencountered:\s*|.*\bError in thread \d+:\s*)?(?:\[/opt/dali[^]]*\]\s*)?", re.DOTALL
)
_DALI_END = re.compile(r"\s*(?:C\+\+ context:|Stacktrace \(|Current pipeline object).*", re.DOTALL)


def innermost(error: BaseException) -> tuple[str, str]:
    """Type and message of the original error, without wrappers of Ray, torch, DALI and pools."""
    for name in ("cause", "inner_exception"):
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException):
            return innermost(inner)
    if isinstance(error, BaseExceptionGroup):
        return innermost(error.exceptions[0])
    return _unwrapped(type(error).__name__, str(error))


def _unwrapped(kind: str, message: str) -> tuple[str, str]:
    text = _COLOUR.sub("", message).strip().removesuffix('"""').rstrip()
    if _TRACEBACK in text or text.startswith("ray::"):
        lines = text.rpartition(_TRACEBACK)[2].splitlines(keepends=True)
        first = 1 if text.startswith("ray::") and _TRACEBACK not in text else 0
        while first < len(lines) and (lines[first][0].isspace() or lines[first][0] == "\x1b"):
            first += 1
        if raised := _RAISED.match("".join(lines[first:])):
            return _unwrapped(raised[1].rpartition(".")[2], (raised[2] or "").strip())
    if _DALI.match(text):
        inner = _DALI_END.sub("", _DALI_START.sub("", text, count=1)).strip()
        if inner and inner != text:
            return _unwrapped(kind, inner)
    return kind, message.strip() or kind


def shortened(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """The text, or its two ends if it is longer."""
    if len(text) <= longest:
        return text
    half = longest // 2
    left_out = f"\n… {len(text) - 2 * half:,} characters left out, see the log …\n"
    return text[:half] + left_out + text[-half:]
