"""Errors that are shown to people as one sentence, never as a traceback."""


class UsageError(Exception):
    """Wrong usage or environment: the command stops with exit code 2 and this sentence."""
