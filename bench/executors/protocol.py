"""What parent and worker say to each other: one JSON object a line."""

from typing import IO

import msgspec

from bench.job import Job
from bench.machine.environment import Probe
from bench.record import Memory, Point, Record


class Probed(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """What the device can do, as a worker says that was hired to find out."""

    probe: Probe


class Ready(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The worker has imported everything and waits for jobs."""

    import_s: float


class EpochDone(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """One more point of the present run's curve, and the peak of its memory so far."""

    point: Point
    memory: Memory | None = None


class Done(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The present run is over; after any status but "ok" the worker exits."""

    record: Record


Message = Ready | EpochDone | Done

_messages: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_probed = msgspec.json.Decoder(Probed)
_jobs = msgspec.json.Decoder(Job)


def send(stream: IO[bytes], message: Job | msgspec.Struct) -> None:
    """Writes one line and flushes it."""
    stream.write(msgspec.json.encode(message) + b"\n")
    stream.flush()


def read_message(line: bytes) -> Message:
    """A worker's line."""
    return _messages.decode(line)


def read_probed(line: bytes) -> Probed:
    """The first line of a worker that tries the device."""
    return _probed.decode(line)


def read_job(line: bytes) -> Job:
    """A parent's line."""
    return _jobs.decode(line)
