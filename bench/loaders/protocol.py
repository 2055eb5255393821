"""What `bench loaders` and its child processes say to each other: one JSON object a line."""

from typing import Any

import msgspec

from bench.executors.protocol import Ready
from bench.record import Memory, Status
from bench.store.loaders_record import Repeat


class Describe(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Asks for the machine and the bandwidth of its memory."""

    device: str


class Build(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Asks for a pipeline and its first batch; plugins as in `Job`."""

    pipeline: str
    source: str
    data_dir: str
    augmentation: str
    batch_size: int
    device: str
    precision: str
    plugins: dict[str, str] = {}


class Measure(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Asks for one repeat of at least this long."""

    seconds: float


class Described(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The machine; bandwidth in 10^9 bytes read or written a second."""

    environment: dict[str, Any]
    bandwidth_gb_per_s: float


class Built(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The pipeline has given its first batch."""

    build_s: float
    first_batch_s: float
    bytes_per_image: int
    draws: dict[str, str]
    memory: Memory


class Measured(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """One repeat, and the peaks of memory so far."""

    repeat: Repeat
    memory: Memory


class Failed(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The order could not be carried out; the child exits."""

    status: Status
    reason: str


Order = Describe | Build | Measure
Reply = Ready | Described | Built | Measured | Failed

_orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def read_order(line: bytes) -> Order:
    """A parent's line."""
    return _orders.decode(line)


def read_reply(line: bytes) -> Reply:
    """A child's line."""
    return _replies.decode(line)
