"""The store behaves like a dictionary although its process dies between any two system calls.

Hypothesis writes, damages, reads and reopens in any order; the process dies before any call, or the
power fails and unsynced data are lost. Afterwards, what had been written is there once and whole;
what was being written is there in its old or its new state.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bench.store.store import Store
from tests.faults.crash_disk import Died, Disk
from tests.made import made_failure, made_record

MEMORY = Path("/dev/shm")  # `Disk` counts what is synced, so the disk may be a fast one
SEEDS = st.integers(0, 2)
STATUSES = st.sampled_from(["ok", "crashed", "skipped"])


@dataclass(frozen=True)
class Crash:
    """Ends an operation after `calls` calls, with or without a power failure."""

    calls: int
    power: bool
    kept: int
    share: float


CRASHES = st.none() | st.builds(
    Crash,
    calls=st.integers(0, 40),
    power=st.booleans(),
    kept=st.integers(0, 3),
    share=st.sampled_from([0.0, 0.5, 1.0]),
)


@dataclass
class Known:
    """What the store must contain of a run: marks of earlier attempts by number, and its record."""

    attempts: dict[int, int] = field(default_factory=dict)
    current: tuple[int, int, str] | None = None  # attempt, mark, status

    def after(self, mark: int, status: str) -> "Known":
        attempts = dict(self.attempts)
        if self.current is not None and self.current[2] != "skipped":
            attempts[self.current[0]] = self.current[1]
        return Known(attempts, (1 + max(attempts, default=0), mark, status))


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        place = MEMORY if MEMORY.is_dir() else None
        self.root = Path(tempfile.mkdtemp(dir=place))
        self.store = Store(self.root / "results" / "group")
        self.disk = Disk(self.root)
        self.known: dict[int, Known] = {seed: Known() for seed in range(3)}
        self.damaged: list[bytes] = []
        self.marks = 0
        self.reopen(None)

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @rule(seed=SEEDS, status=STATUSES, crash=CRASHES)
    def write(self, seed: int, status: str, crash: Crash | None) -> None:
        self._write(seed, status, crash, [self.known[seed]])

    def _write(self, seed: int, status: str, crash: Crash | None, before: list[Known]) -> None:
        self.marks += 1
        made = made_record(seed) if status == "ok" else made_failure(seed, status=status)
        record = replace(made, environment={"mark": self.marks})
        after = [known.after(self.marks, status) for known in before]
        if self._until(crash, lambda: self.store.write(record)):
            self._settle(seed, before + after)
        else:
            self.known[seed] = self._one_of(seed, after)

    @rule(seed=SEEDS, what=st.sampled_from(["read", "records", "write"]), crash=CRASHES)
    def damage(self, seed: int, what: str, crash: Crash | None) -> None:
        """Damages a record; the next operation must notice it."""
        if self.known[seed].current is None:
            return
        self.damaged.append(b"garbage %d" % len(self.damaged))
        self._path(seed).write_bytes(self.damaged[-1])
        lost = Known(dict(self.known[seed].attempts))
        number, mark, _ = self.known[seed].current
        # A crash may have left a copy among the attempts.
        spared = Known({**lost.attempts, number: mark})
        if what == "write":
            self._write(seed, "ok", crash, [lost, spared])
            return
        quiet: list[str] = []
        operation: Callable[[], object] = (
            (lambda: self.store.read(_id(seed), quiet.append))
            if what == "read"
            else (lambda: self.store.records(quiet.append))
        )
        if not self._until(crash, operation):
            assert len(quiet) == 1
        self._settle(seed, [lost, spared])

    @rule(crash=CRASHES)
    def reopen(self, crash: Crash | None) -> None:
        """Another `bench run` begins."""
        if not self._until(crash, self._begin):
            assert not list(self.store.folder.rglob("*.tmp"))

    def _begin(self) -> None:
        self.store = Store(self.store.folder)
        self.store.check_writable()
        with self.store.lock(notice=lambda text: None):
            pass

    @rule(kept=st.integers(0, 3), share=st.sampled_from([0.0, 0.5]))
    def power_goes(self, kept: int, share: float) -> None:
        self.disk.cut_power(kept, share)

    @invariant()
    def all_is_there(self) -> None:
        for seed, known in self.known.items():
            assert self._found(seed) == known
        records = self.root / "results" / "group" / "records"
        kept = [path.read_bytes() for path in (records / ".quarantine").glob("*")]
        assert sorted(kept) == sorted(self.damaged)

    def _until(self, crash: Crash | None, work: Callable[[], object]) -> bool:
        """Returns whether the process died."""
        self.disk.left = None if crash is None else crash.calls
        died = False
        try:
            with self.disk.watched():
                work()
        except Died:
            died = True
        self.disk.revive()
        if crash is not None and crash.power:
            self.disk.cut_power(crash.kept, crash.share)
        elif died:  # the next process syncs what the dead one left
            with self.disk.watched():
                self._begin()
        return died

    def _path(self, seed: int) -> Path:
        return self.store.record_path(_id(seed))

    def _found(self, seed: int) -> Known:
        record = self.store.read(_id(seed), pytest.fail)
        attempts = self.store.attempts(_id(seed), pytest.fail)
        current = None
        if record is not None:
            current = (record.attempt, record.environment["mark"], record.status)
        return Known({one.attempt: one.environment["mark"] for one in attempts}, current)

    def _one_of(self, seed: int, allowed: list[Known]) -> Known:
        found = self._found(seed)
        assert found in allowed
        return found

    def _settle(self, seed: int, allowed: list[Known]) -> None:
        """Lets the store quarantine a damaged record, and notes what is left."""
        self.store.read(_id(seed), lambda text: None)
        self.known[seed] = self._one_of(seed, allowed)


def _id(seed: int) -> str:
    return made_record(seed).run_id


Machine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestStore = Machine.TestCase
