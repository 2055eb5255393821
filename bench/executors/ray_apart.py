"""A Ray cluster by way of a process that has Ray: whatever becomes of it, the grid goes on."""

import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bench.errors import UsageError
from bench.executors.local import Worker, WorkerLost
from bench.executors.protocol import read_message
from bench.executors.ray_words import (
    Begin,
    Gone,
    Heard,
    Join,
    Refused,
    Room,
    Stop,
    Stopped,
    Word,
    read_word,
)
from bench.executors.remote import Lost, News
from bench.job import Job
from bench.machine.environment import python_environment, python_module
from bench.process import MARK, new_mark
from bench.store.files import StoreError, write_atomically

JOIN_S = 240.0
POLL_S = 1.0
SILENT_POLLS = 60
STOP_S = 30.0


@dataclass(kw_only=True)
class RayApart:
    """A `Cluster`; a ticket is a number.

    Args:
        address: Of the Ray cluster.
    """

    address: str
    _process: Worker
    _said: IO[bytes]
    _room: int = 0
    _last: int = 0
    _news: list[News] = field(default_factory=list)
    _silent: int = 0
    _folder: Path | None = None
    _lost: bool = False

    @classmethod
    def connect(cls, address: str, *, device: str, timeout_s: float) -> "RayApart":
        """Joins the cluster at an address.

        Raises:
            UsageError: There is none, or its nodes cannot be used.
        """
        said, mark = tempfile.TemporaryFile(), new_mark()  # noqa: SIM115 - closed by `close`
        process = subprocess.Popen(
            python_module("bench.executors.ray_process"),
            env=python_environment() | {MARK: mark},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
        worker = Worker(process=process, key="ray", mark=mark)
        cluster = cls(address=address, _process=worker, _said=said)
        try:
            worker.send(Join(address=address, device=device, timeout_s=timeout_s))
            cluster._take(cluster._read(time.monotonic() + JOIN_S))
        except BaseException as error:
            cluster.close()
            if isinstance(error, TimeoutError):
                late = f"the Ray cluster at {address} could not be joined in {JOIN_S:g} s"
                raise UsageError(late) from error
            raise
        return cluster

    def room(self) -> int:
        """What the cluster last had; waits a moment while it has none."""
        if not self._room:
            self._listen()
        return self._room

    def begin(self, jobs: Sequence[Job]) -> list[int]:
        """Sends the jobs there."""
        first = self._last + 1
        self._last += len(jobs)
        tickets = list(range(first, self._last + 1))
        self._folder = Path(jobs[0].folder)
        self._process.send(Begin(tickets=tickets, jobs=list(jobs)))
        return tickets

    def news(self, tickets: Sequence[int]) -> list[News]:
        """All that has come."""
        if not self._news:
            self._listen()
        news, self._news = self._news, []
        return news

    def stop(self, tickets: Sequence[int]) -> None:
        """Has these jobs ended; they are given up where nothing answers in time."""
        if self._lost or not tickets:
            return
        self._process.send(Stop(tickets=list(tickets)))
        deadline = time.monotonic() + STOP_S
        with suppress(TimeoutError, UsageError, StoreError):
            while not isinstance(word := self._read(deadline), Stopped):
                with suppress(UsageError, StoreError):  # it is being stopped
                    self._take(word)

    def close(self) -> None:
        """Ends the process that has Ray; what is left there of jobs ends with it."""
        self._process.stop()
        self._said.close()

    def _listen(self) -> None:
        """Takes what comes within a moment."""
        deadline = time.monotonic() + POLL_S
        try:
            while not self._news:
                self._take(self._read(deadline))
                self._silent = 0
        except TimeoutError:
            self._silent += 1
            if self._silent > SILENT_POLLS:
                raise self._gone("Ray answers no more") from None

    def _read(self, deadline: float) -> Word:
        try:
            return self._process.read(deadline, read_word)
        except WorkerLost:
            raise self._gone("its head is gone or was started anew, and Ray gave up") from None

    def _take(self, word: Word) -> None:
        """Notes a word.

        Raises:
            UsageError: There is no going on.
            StoreError: Likewise, for a folder.
        """
        match word:
            case Room(jobs=jobs):
                self._room = jobs
            case Heard(ticket=ticket, line=line):
                self._news.append((ticket, read_message(bytes(line))))
            case Gone(ticket=ticket, reason=reason):
                self._news.append((ticket, Lost(reason=reason)))
            case Refused(message=message, folder=folder):
                raise StoreError(message) if folder else UsageError(message)

    def _gone(self, reason: str) -> UsageError:
        """What to say of a cluster that is lost; what Ray has printed is kept with the logs."""
        self._lost = True
        told = f"the Ray cluster at {self.address} is lost: {reason}"
        self._said.seek(0)
        words = self._said.read()
        if self._folder is None or not words:
            return UsageError(told)
        log = self._folder / "logs" / "ray.log"
        write_atomically(log, words)
        return UsageError(f"{told} (its own words are in {log})")
