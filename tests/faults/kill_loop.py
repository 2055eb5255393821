"""Kills a process that does nothing but write records, again and again; prints what it saw.

A program of its own: the writers are forked, so that 200 of them cost no 200 starts of Python.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from bench.record import Record
from bench.store.store import Store
from tests.made import made_failure, made_record

RUNS = [made_record(0), made_failure(1), made_record(2)]
BEGUN, WRITTEN = b"b", b"w"


def write_on(store: Store, trial: int, pipe: int) -> None:
    """Writes until it is killed; says before and after each record which one it is."""
    for count in range(1_000_000):
        record = RUNS[count % len(RUNS)]
        mark = f"{trial}.{count}"
        os.write(pipe, BEGUN + f"{count % len(RUNS)} {mark}\n".encode())
        store.write(replace(record, environment={"mark": mark}))
        os.write(pipe, WRITTEN + f"{count % len(RUNS)} {mark}\n".encode())


def kill_one(store: Store, trial: int, delay_s: float) -> list[str]:
    """Starts a writer, kills it, and gives what it said."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        write_on(store, trial, writing)
    os.close(writing)
    first = os.read(reading, 1)  # it has begun
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        return (first + pipe.read()).decode().splitlines()


def marks(store: Store, run: Record) -> list[str]:
    """Marks of all that is kept of a run, oldest first; every file must be whole."""

    def never(text: str) -> None:
        raise AssertionError(text)

    current = store.read(run.run_id, never)
    kept = [*store.attempts(run.run_id, never), *([current] if current else [])]
    assert [one.attempt for one in kept] == list(range(1, len(kept) + 1)), "attempts with a gap"
    return [one.environment["mark"] for one in kept]


def main(folder: Path, trials: int, longest_s: float) -> None:
    """Kills `trials` writers, each `longest_s` after its beginning or before; prints counts."""
    draw = random.Random(11)
    seen: Counter[str] = Counter()
    for trial in range(trials):
        store = Store(folder / f"group{trial // 20}")  # so that attempts do not grow for ever
        before = [marks(store, run) for run in RUNS]
        said = kill_one(store, trial, draw.uniform(0, longest_s))
        due = [list(each) for each in before]
        for line in said:
            if line.startswith("w"):
                due[int(line[1])].append(line[3:])
        cut = said[-1] if said[-1].startswith("b") else ""
        seen["mid-write"] += bool(cut)
        for index, run in enumerate(RUNS):
            found = marks(store, run)
            doubtful = [cut[3:]] if cut and int(cut[1]) == index else []
            assert found in (due[index], due[index] + doubtful), (found, due[index], doubtful)
            seen["cut one was kept whole"] += found != due[index]
        assert not (store.folder / "records" / ".quarantine").exists()
        unfinished = list(store.folder.rglob("*.tmp"))
        seen["temporary file left"] += bool(unfinished)
        notes: list[str] = []
        with store.lock(notice=notes.append):
            assert not list(store.folder.rglob("*.tmp"))
        assert len(notes) == bool(unfinished), notes
        seen["records written"] += sum(line.startswith("w") for line in said)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
