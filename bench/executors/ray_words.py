"""What a grid and the process that has Ray say to each other: one JSON object a line."""

import msgspec

from bench.job import Job


class Join(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The first order: which cluster to join, and for what."""

    address: str
    device: str
    timeout_s: float


class Begin(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Jobs to send to nodes, and the tickets that they are known by from now on."""

    tickets: list[int]
    jobs: list[Job]


class Stop(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Jobs to end; answered by `Stopped`."""

    tickets: list[int]


class Room(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """How many jobs the cluster can train at once; said again and again."""

    jobs: int


class Heard(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """A job's worker has said this line."""

    ticket: int
    line: msgspec.Raw


class Gone(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """A job's worker or node is lost."""

    ticket: int
    reason: str


class Stopped(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The jobs that were to end have ended."""


class Refused(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """There is no going on, for this reason.

    Args:
        message: For people.
        folder: Whether a folder is the reason.
    """

    message: str
    folder: bool = False


Order = Join | Begin | Stop
Word = Room | Heard | Gone | Stopped | Refused

_orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_words: msgspec.json.Decoder[Word] = msgspec.json.Decoder(Word)


def read_order(line: bytes) -> Order:
    """A line of the grid's."""
    return _orders.decode(line)


def read_word(line: bytes) -> Word:
    """A line of the process that has Ray."""
    return _words.decode(line)
