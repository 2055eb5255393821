"""Errors that are shown to the user as one sentence, without a traceback."""

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
