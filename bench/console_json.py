"""A grid's progress for programs: one JSON object a line; docs/reading.md lists the fields."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO, cast

import msgspec

from bench.cell import Run
from bench.console_base import Planned, TimeLeft, first_line, peak_gib
from bench.outlet import Outlet
from bench.record import Memory, Point, Record


class JsonConsole:
    """Writes an object for each event; numbers that JSON lacks become null.

    Args:
        file: Where to; standard output if left out.
    """

    def __init__(self, *, file: TextIO | None = None) -> None:
        self._file = file or cast(TextIO, Outlet(sys.stdout))
        self._left = TimeLeft()
        self._waiting: list[Run] = []
        self._ours: set[str] = set()
        self._training_s = 0.0
        self._began = time.monotonic()
        self._memory: Memory | None = None

    def progress(self, text: str) -> None:
        """Work before the first run."""
        self._event("progress", text=text)

    def notice(self, text: str) -> None:
        """Something that must not be missed."""
        self._event("notice", text=text)

    def plan(self, plan: Planned, *, every: bool = False) -> None:
        """All runs, by what is to be done with them; `every` changes nothing."""
        for text in plan.notices:
            self.notice(text)
        for record in plan.done:
            self._left.learn(record)
        self._waiting = list(plan.todo)
        self._event(
            "plan",
            folder=str(plan.folder),
            todo=[_of_run(run) for run in plan.todo],
            done=[_of_record(record) for record in plan.done],
            failed=[_of_record(record) for record in plan.failed],
            skipped=[_of_run(run) | {"reason": reason} for run, reason in plan.skipped],
            left_s=self._left.of_all(self._waiting, 0.0),
        )

    def run_started(self, run: Run, position: int, total: int) -> None:
        """A run begins."""
        self._ours.add(run.id)
        self._memory = None
        self._event(
            "started",
            **_of_run(run),
            position=position,
            total=total,
            left_s=self._left.of_all(self._waiting, 0.0),
        )

    def memory(self, peak: Memory) -> None:
        """Kept for the next epoch."""
        self._memory = peak

    def epoch(self, run: Run, point: Point, epochs: int) -> None:
        """An epoch ended: a point of the curve."""
        gib = peak_gib(self._memory) if self._memory else None
        figures = msgspec.to_builtins(point)
        self._event("epoch", **_of_run(run), epochs=epochs, **figures, memory_gib=gib)

    def run_finished(self, record: Record) -> None:
        """A run ended, or could not begin."""
        if record.run_id in self._ours:  # what another trained meanwhile is not ours
            self._training_s += record.timings.train_s
        self._left.learn(record)
        self._waiting = [run for run in self._waiting if run.id != record.run_id]
        metrics, speed = record.metrics, record.throughput
        self._event(
            "finished",
            **_of_record(record),
            accuracy=metrics.accuracy if metrics else None,
            macro_f1=metrics.macro_f1 if metrics else None,
            time_to_accuracy_s=metrics.time_to_accuracy_s if metrics else None,
            images_per_s=speed.median if speed else None,
            stall_pct=speed.stall_pct if speed else None,
            memory_gib=peak_gib(record.memory),
            total_s=record.timings.total_s,
            timing_suspect=record.timing_suspect,
            reason=first_line(record),
            log=record.error.log if record.error else "",
        )

    def summary(self, counts: Mapping[str, int], table: Path, command: str) -> None:
        """How the grid ended."""
        self._event(
            "summary",
            counts={status: number for status, number in counts.items() if number},
            left=len(self._waiting),
            passed_s=time.monotonic() - self._began,
            training_s=self._training_s,
            table=str(table),
            command=command,
        )

    def close(self) -> None:
        """Nothing is left open."""

    def _event(self, event: str, **fields: Any) -> None:
        text = msgspec.json.encode({"event": event} | fields, enc_hook=str).decode()
        self._file.write(f"{text}\n")
        self._file.flush()


def _of_run(run: Run) -> dict[str, Any]:
    return {"run_id": run.id, "name": run.name}


def _of_record(record: Record) -> dict[str, Any]:
    return {"run_id": record.run_id, "name": record.name, "status": record.status}
