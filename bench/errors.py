"""Errors that are shown to people as one sentence, without a traceback."""


class BenchError(Exception):
    """The base of all errors whose message is one sentence for people."""


class UsageError(BenchError):
    """Wrong usage or environment: the command stops with exit code 2 and this sentence."""
