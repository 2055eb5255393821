"""Event files read back: enough to tell whether they are whole, and what their summaries are."""

import struct
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from bench.files import StrangeFile, read_file
from bench.tensorboard.events import PATTERN

LARGEST = 2**28  # bytes of an event file
_LENGTH = struct.Struct("<Q")
_SUM = struct.Struct("<I")


class DamagedEvents(ValueError):
    """An event file that is not whole; the message says where."""


def summaries(folder: Path) -> list[bytes]:
    """The summaries of a folder's event files, without the times at which they were written.

    Raises:
        DamagedEvents: A file is cut, garbled or too large; the message names it.
        OSError: One cannot be read.
    """
    found = []
    for path in sorted(folder.glob(PATTERN)):
        try:
            content = read_file(path, LARGEST)
        except StrangeFile as error:
            raise DamagedEvents(f"{path.name}: {error}") from error
        for number, event in enumerate(_events(content, path.name)):
            if event.HasField("summary"):
                found.append(event.summary.SerializeToString(deterministic=True))
            elif number == 0 and not event.file_version:
                raise DamagedEvents(f"{path.name} does not begin as an event file does")
    return found


def _events(content: bytes, name: str) -> Iterator[Event]:
    place = 0
    while place < len(content):
        body = place + _LENGTH.size + _SUM.size
        head = content[place : place + _LENGTH.size]
        if body > len(content):
            raise DamagedEvents(f"{name} is cut after {place} bytes")
        (said,) = _SUM.unpack_from(content, place + _LENGTH.size)
        (length,) = _LENGTH.unpack(head)
        if said != masked_crc32c(head):
            raise DamagedEvents(f"{name} is garbled after {place} bytes")
        if body + length + _SUM.size > len(content):
            raise DamagedEvents(f"{name} is cut after {place} bytes")
        try:
            yield Event.FromString(content[body : body + length])
        except DecodeError as error:
            raise DamagedEvents(f"{name} is garbled after {place} bytes") from error
        place = body + length + _SUM.size


__all__ = ["DamagedEvents", "summaries"]
