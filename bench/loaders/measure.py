"""`bench loaders`: each pipeline alone, without a net.

At a batch size every pipeline has a process of its own, all of them alive at once. They build and
measure one at a time, in turns: what disturbs the machine for a while disturbs all of them alike.
A process serves one batch size, so that each pays for its own compilation and starts with the same
memory; compiled code is kept in a folder that is new for each.

One series of `bench loaders` in the making, and the child process that makes it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import msgspec

from bench.errors import UsageError
from bench.executors.local import STARTUP_TIMEOUT_S, Worker, WorkerLost
from bench.executors.protocol import Ready
from bench.loaders.plan import Candidate, Plan, Report
from bench.loaders.protocol import (
    Build,
    Built,
    Describe,
    Described,
    Failed,
    Measure,
    Measured,
    Order,
    read_reply,
)
from bench.process import signals_deferred, signals_raise
from bench.record import Status
from bench.store.files import StoreError, slug
from bench.store.loaders_record import LEAST_REPEATS, LoadersRecord, Series
from bench.store.store import Store

ReplyT = TypeVar("ReplyT", bound=msgspec.Struct)


class ChildFailed(RuntimeError):
    """A child could not do what it was told.

    Args:
        status: How it failed.
        reason: Why, in one sentence.
    """

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(kw_only=True)
class Trial:
    """A series in the making, and the child that makes it, if it has one."""

    series: Series
    child: Worker | None = None

    def start(self, store: Store, scratch: Path) -> None:
        """Starts the child; a series that is lost already needs none."""
        if self.series.status != "ok":
            return
        name = slug(f"loaders {self.series.pipeline} {self.series.batch_size}")
        with signals_deferred():
            self.child = start_child(store, name, scratch / name)

    def step(self, order: Order | None, kind: type[ReplyT], timeout_s: float) -> ReplyT | None:
        """What the child answers; None if the series was lost, now or before."""
        if self.child is None:
            return None
        try:
            return ask(self.child, order, kind, timeout_s)
        except ChildFailed as error:
            self.series = replace(self.series, status=error.status, reason=error.reason)
            self.stop()
            return None

    def stop(self) -> None:
        """Ends the child; safe to call twice."""
        if self.child is not None:
            with signals_deferred():
                self.child.stop()
            self.child = None


def start_child(store: Store, name: str, compiled_code: Path) -> Worker:
    """Starts a child whose output goes to the log of that name."""
    settings = {"TORCHINDUCTOR_CACHE_DIR": str(compiled_code)}
    return Worker.start(
        name, store.fresh_log(name), module="bench.loaders.worker", settings=settings
    )


def ask(child: Worker, order: Order | None, kind: type[ReplyT], timeout_s: float) -> ReplyT:
    """Gives an order, if there is one, and waits for the reply.

    Raises:
        ChildFailed: It died, took too long, or says that it cannot.
    """
    if order is not None:
        child.send(order)
    try:
        reply = child.read(time.monotonic() + timeout_s, read_reply)
    except TimeoutError:
        reason = f"no answer came within {timeout_s:g} s; it was stopped"
        raise ChildFailed("timeout", reason) from None
    except WorkerLost as error:
        raise ChildFailed("crashed", f"{error}; logs/{child.key}.log") from error
    if isinstance(reply, Failed):
        raise ChildFailed(reply.status, reply.reason)
    if not isinstance(reply, kind):
        raise ChildFailed("crashed", f"it answered {type(reply).__name__}, not {kind.__name__}")
    return reply


def measure(
    plan: Plan, report: Report, keep: Callable[[LoadersRecord], None] = lambda record: None
) -> LoadersRecord:
    """Measures everything; no child is left when it returns or raises.

    Args:
        plan: What to measure.
        report: Gets a line now and then.
        keep: Gets the record after each batch size but the last; what is to come is in it as
            interrupted, so that a file is true even if nobody can complete it.

    Returns:
        The record. After a stop from outside, what is not done is in it as interrupted.

    Raises:
        KeyboardInterrupt: Stopped from outside before the first figure.
        StoreError: The results folder cannot be written or is in use.
        UsageError: Not even the machine could be described.
    """
    store = Store(plan.folder)
    store.check_writable()
    with store.lock(), signals_raise(), TemporaryDirectory() as scratch:
        described = describe(plan, store, Path(scratch))
        header = replace(
            plan.header,
            environment=described.environment,
            bandwidth_gb_per_s=described.bandwidth_gb_per_s,
        )
        series: list[Series] = []
        try:
            for size in plan.batch_sizes:
                measure_batch_size(plan, size, store, Path(scratch), report, series)
                if size != plan.batch_sizes[-1]:
                    with signals_deferred():
                        keep_or_tell(replace(header, series=whole(plan, series)), keep, report)
        except KeyboardInterrupt:
            if not any(one.repeats for one in series):
                raise
    return replace(header, series=whole(plan, series))


def whole(plan: Plan, series: list[Series]) -> tuple[Series, ...]:
    """The series with those of batch sizes that were not begun."""
    begun = {one.batch_size for one in series}
    reason = "the call ended before it was begun"
    return (
        *series,
        *(
            interrupted(unmeasured(candidate, size), reason)
            for size in plan.batch_sizes
            if size not in begun
            for candidate in plan.candidates
        ),
    )


def interrupted(series: Series, reason: str) -> Series:
    """The series as one that was cut off, unless it was lost before."""
    if series.status != "ok":
        return series
    return replace(series, status="interrupted", reason=reason)


def keep_or_tell(
    record: LoadersRecord, keep: Callable[[LoadersRecord], None], report: Report
) -> None:
    """Keeps a record; a full disk must not cost what is still to be measured."""
    try:
        keep(record)
    except StoreError as error:
        report(f"not kept so far: {error}")


def describe(plan: Plan, store: Store, scratch: Path) -> Described:
    """The machine, by a child that ends before anything else begins.

    Raises:
        UsageError: The child failed.
    """
    child = start_child(store, "loaders-machine", scratch / "machine")
    try:
        ask(child, None, Ready, STARTUP_TIMEOUT_S)
        return ask(child, Describe(device=plan.header.device), Described, plan.patience_s)
    except ChildFailed as error:
        raise UsageError(f"the {plan.header.device} cannot be measured here: {error}") from error
    finally:
        with signals_deferred():
            child.stop()


def measure_batch_size(
    plan: Plan, batch_size: int, store: Store, scratch: Path, report: Report, series: list[Series]
) -> None:
    """All pipelines at one batch size, in turns; adds to `series` even if it is cut off."""
    trials = [Trial(series=unmeasured(candidate, batch_size)) for candidate in plan.candidates]
    try:
        for trial in trials:
            trial.start(store, scratch)
        for trial in trials:
            trial.step(None, Ready, STARTUP_TIMEOUT_S)
        for trial in trials:
            build(plan, trial)
        for number in range(plan.repeats):
            report(f"batch size {batch_size}: repeat {number + 1} of {plan.repeats}")
            for trial in trials:
                if not done(plan, trial.series):
                    repeat(plan, trial)
    finally:
        with signals_deferred():
            for trial in trials:
                trial.stop()
                if not done(plan, trial.series):
                    said = f"stopped after {len(trial.series.repeats)} of {plan.repeats} repeats"
                    trial.series = interrupted(trial.series, said)
            series += [trial.series for trial in trials]
    for trial in trials:
        if trial.series.status != "ok":
            report(f"{trial.series.status:<8} {trial.series.pipeline}: {trial.series.reason}")


def unmeasured(candidate: Candidate, batch_size: int) -> Series:
    """The series before its first figure; skipped already if the pipeline cannot run here."""
    return Series(
        pipeline=candidate.name,
        batch_size=batch_size,
        compiled=candidate.compiled,
        reads=candidate.reads,
        status="skipped" if candidate.problem else "ok",
        reason=candidate.problem,
    )


def build(plan: Plan, trial: Trial) -> None:
    """Lets the child build its pipeline and take a first batch."""
    header = plan.header
    order = Build(
        pipeline=trial.series.pipeline,
        source=header.source,
        data_dir=str(plan.data_dir),
        augmentation=header.augmentation,
        batch_size=trial.series.batch_size,
        device=header.device,
        precision=header.precision,
        plugins=dict(plan.plugins),
    )
    built = trial.step(order, Built, plan.patience_s)
    if built is not None:
        trial.series = replace(
            trial.series,
            draws=built.draws,
            build_s=built.build_s,
            first_batch_s=built.first_batch_s,
            bytes_per_image=built.bytes_per_image,
            memory=built.memory,
        )


def repeat(plan: Plan, trial: Trial) -> None:
    """Lets the child measure once more."""
    seconds = plan.header.repeat_s
    found = trial.step(Measure(seconds=seconds), Measured, plan.patience_s + seconds)
    if found is not None:
        repeats = (*trial.series.repeats, found.repeat)
        trial.series = replace(trial.series, repeats=repeats, memory=found.memory)


def done(plan: Plan, series: Series) -> bool:
    """Whether a series has all repeats that it gets."""
    count = len(series.repeats)
    if count >= plan.repeats:
        return True
    took_s = sum(repeat.images / repeat.images_per_s for repeat in series.repeats)
    return count >= LEAST_REPEATS and took_s >= plan.series_s


def exit_code(record: LoadersRecord) -> int:
    """130 where the call was stopped, 1 where something broke; what cannot run here did not."""
    found = {series.status for series in record.series}
    if "interrupted" in found:
        return 130
    return 1 if found - {"ok", "skipped"} else 0
