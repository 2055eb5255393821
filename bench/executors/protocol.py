"""Worker processes and the JSON lines that they exchange with their parent.

A worker reads one request per line from its standard input and answers on a private copy of its
standard output, so that library output cannot be mistaken for a message. Printed output goes to
standard error, which is a log file. `bench run` and `bench loaders` use the same protocol.
"""

import faulthandler
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, TypeVar

import msgspec

from bench.job import Job
from bench.machine.environment import Probe, python_environment, python_module
from bench.process import (
    MARK,
    SILENCE_S,
    die_with_parent,
    kill_marked,
    new_mark,
    pulse_of,
    signals_allowed,
    tolerate_full_disk,
)
from bench.record import Memory, Point, Record
from bench.store.files import explained

STARTUP_TIMEOUT_S = 600.0  # for a worker that works meanwhile
TERM_GRACE_S = 3.0
POLL_S = 1.0
LARGEST_MESSAGE = 64 * 2**20  # bytes; twice a record's limit
# Spinning OpenMP threads make steps twenty times slower when another process wants the core;
# sleeping ones cost almost nothing. By default glibc returns large tensors to the system, and
# clearing their pages takes a sixth of a CPU step of 2,000 images. Both are read when the process
# starts; the user's values take precedence.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
}
PROBE = "--probe"  # argument that makes a worker probe the device first
MessageT = TypeVar("MessageT")


class Probed(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The first message of a worker that was started with `PROBE`."""

    probe: Probe


class Ready(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The worker has imported everything and waits for requests."""

    import_s: float


class EpochDone(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """A new point of the current run's curve, and its peak memory so far."""

    point: Point
    memory: Memory | None = None


class Done(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The current run has ended; the worker exits if `record.ends_worker`."""

    record: Record


Message = Ready | EpochDone | Done
_message_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def send(stream: IO[bytes], message: Job | msgspec.Struct) -> None:
    """Writes one line and flushes it."""
    stream.write(msgspec.json.encode(message) + b"\n")
    stream.flush()


def read_message(line: bytes) -> Message:
    """Decodes a message from a worker that trains runs."""
    return _message_decoder.decode(line)


def read_job(line: bytes) -> Job:
    """Decodes a request to a worker that trains runs."""
    return msgspec.json.decode(line, type=Job)


def become_worker() -> IO[bytes]:
    """Turns this process into a worker; returns the stream for its messages.

    It ends with its parent, ignores Ctrl-C, which the parent handles, reports fatal signals, and
    printing never fails, even if the disk is full.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout, sys.stderr = tolerate_full_disk(1), tolerate_full_disk(2)
    faulthandler.enable()
    return messages


class WorkerLost(RuntimeError):
    """A worker died, or sent something that is not a message."""


class WorkerSilent(WorkerLost):
    """A starting worker does nothing; starting another one would not help."""

    def __init__(self) -> None:
        super().__init__(
            f"the worker did not start: for {SILENCE_S:g} s it has neither used the CPU nor read "
            "a file, so an import waits for something, such as a network disk, a lock or a driver"
        )


@dataclass(kw_only=True)
class Worker:
    """The parent's handle of a worker process.

    Args:
        key: Identifies its compiled model, or its log.
        mark: Value of the environment variable that identifies its descendants.
    """

    process: "subprocess.Popen[bytes]"
    key: str
    mark: str = ""
    _buffer: bytearray = field(default_factory=bytearray)
    _lines: list[bytes] = field(default_factory=list)

    @classmethod
    def start(
        cls,
        key: str,
        log: Path,
        *,
        module: str = "bench.executors.worker",
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> "Worker":
        """Starts a module that calls `become_worker` first, in a new session.

        Args:
            log: Receives what the worker prints.
            environment: Additional environment variables.

        Raises:
            StoreError: The log cannot be written.
        """
        mark = new_mark()
        with explained(f"write {log}"):
            output = log.open("ab")
        with output:
            process = subprocess.Popen(
                [*python_module(module), *arguments],
                env=ENVIRONMENT | python_environment() | dict(environment) | {MARK: mark},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        return cls(process=process, key=key, mark=mark)

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def send(self, request: Job | msgspec.Struct) -> None:
        """Sends a request; a dead worker is only noticed by `receive`."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            send(self.process.stdin, request)

    def receive(
        self, decode: Callable[[bytes], MessageT], deadline: float, *, starts: bool = False
    ) -> MessageT:
        """Waits for the next line and decodes it.

        Args:
            deadline: In monotonic seconds.
            starts: Whether the worker only has to start, so that it must work meanwhile.

        Raises:
            TimeoutError: None arrived before `deadline`.
            WorkerLost: The worker died, or sent something that is not a message.
            WorkerSilent: It should start, but does nothing.
        """
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        pulse = pulse_of(self.process.pid) if starts and not self._lines else None
        while not self._lines:
            left_s = max(0.0, deadline - time.monotonic())
            # A descendant of a dead worker may keep the pipe open, so EOF alone is not enough.
            dead = not self.is_alive
            wait_s = 0.0 if dead else min(left_s, POLL_S)
            with signals_allowed():
                readable, _, _ = select.select([descriptor], [], [], wait_s)
            # After a suspend beyond the deadline, messages received meanwhile are read first.
            if not (readable or dead or left_s):
                raise TimeoutError
            if pulse and not (readable or dead) and pulse.is_silent():
                raise WorkerSilent
            chunk = os.read(descriptor, 1 << 16) if readable else b""
            if not chunk and (dead or readable):
                raise WorkerLost(self._cause_of_death())
            self._buffer += chunk
            if b"\n" in chunk:
                *lines, rest = self._buffer.split(b"\n")
                self._lines, self._buffer = [bytes(line) for line in lines], rest
            elif len(self._buffer) > LARGEST_MESSAGE:
                limit = f"{LARGEST_MESSAGE / 2**20:.0f} MiB"
                raise WorkerLost(f"the worker sent a message of more than {limit}")
        try:
            return decode(self._lines.pop(0))
        except msgspec.DecodeError as error:
            raise WorkerLost(f"the worker sent an invalid message: {error}") from error

    def _cause_of_death(self) -> str:
        try:
            code = self.process.wait(TERM_GRACE_S)
        except subprocess.TimeoutExpired:
            return "the worker closed its output but did not end"
        if code >= 0:
            return f"the worker exited by itself with exit code {code}"
        name = signal.Signals(-code).name
        hint = " (out of host memory?)" if -code == signal.SIGKILL else ""
        return f"the worker was killed by signal {-code} {name}{hint}"

    def stop(self) -> None:
        """Ends the worker and all its descendants: SIGTERM, then SIGKILL. Can be called twice."""
        for stop_signal in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):  # macOS refuses for a zombie
                os.killpg(self.process.pid, stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(TERM_GRACE_S)
        kill_marked(self.mark)  # those that have left the process group
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
