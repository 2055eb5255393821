"""`bench loaders`: each pipeline alone, without a net.

At a batch size every pipeline has a process of its own, all of them alive at once. They build and
measure one at a time, in turns: what disturbs the machine for a while disturbs all of them alike.
A process serves one batch size, so that each pays for its own compilation and starts with the same
memory; compiled code is kept in a folder that is new for each.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import msgspec

from bench.errors import UsageError
from bench.executors.local import STARTUP_TIMEOUT_S, Worker, WorkerLost
from bench.files import slug
from bench.loader_messages import (
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
from bench.loader_plan import Candidate, Plan, Report
from bench.loader_record import LoadersRecord, Series
from bench.messages import Ready
from bench.record import Status
from bench.signals import stops_held, stops_raise
from bench.store import Store

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
        with stops_held():
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
            with stops_held():
                self.child.stop()
            self.child = None


def start_child(store: Store, name: str, compiled_code: Path) -> Worker:
    """Starts a child whose output goes to the log of that name."""
    log = store.log_path(name)
    log.unlink(missing_ok=True)  # an earlier call's last words are not this one's
    settings = {"TORCHINDUCTOR_CACHE_DIR": str(compiled_code)}
    return Worker.start(name, log, module="bench.loader_worker", settings=settings)


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


def measure(plan: Plan, report: Report) -> LoadersRecord:
    """Measures everything; no child is left when it returns or raises.

    Raises:
        StoreError: The results folder cannot be written or is in use.
        UsageError: Not even the machine could be described.
    """
    store = Store(plan.folder)
    store.check_writable()
    with store.lock(), stops_raise(), TemporaryDirectory() as scratch:
        described = describe(plan, store, Path(scratch))
        series = [
            one
            for size in plan.batch_sizes
            for one in measure_batch_size(plan, size, store, Path(scratch), report)
        ]
    return replace(
        plan.header,
        environment=described.environment,
        bandwidth_gb_per_s=described.bandwidth_gb_per_s,
        series=tuple(series),
    )


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
        with stops_held():
            child.stop()


def measure_batch_size(
    plan: Plan, batch_size: int, store: Store, scratch: Path, report: Report
) -> list[Series]:
    """All pipelines at one batch size, in turns."""
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
                repeat(plan, trial)
    finally:
        for trial in trials:
            trial.stop()
    for trial in trials:
        if trial.series.status != "ok":
            report(f"{trial.series.status:<8} {trial.series.pipeline}: {trial.series.reason}")
    return [trial.series for trial in trials]


def unmeasured(candidate: Candidate, batch_size: int) -> Series:
    """The series before its first figure; skipped already if the pipeline cannot run here."""
    return Series(
        pipeline=candidate.name,
        batch_size=batch_size,
        compiled=candidate.compiled,
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


def failed(record: LoadersRecord) -> bool:
    """Whether something broke; what cannot run here did not."""
    return any(series.status not in ("ok", "skipped") for series in record.series)


def write(record: LoadersRecord, folder: Path, warn: Report) -> None:
    """Leaves the record, its tables, its plot and its scalars in the group folder.

    Raises:
        StoreError: The results folder cannot be written.
    """
    from bench.report import loaders, loaders_plot
    from bench.tensorboard import write_loaders

    store = Store(folder)
    store.write_derived("loaders.json", loaders.render(record, "json"))
    store.write_derived("loaders.csv", loaders.render(record, "csv"))
    store.write_derived("loaders.md", loaders.render(record, "md"))
    for form, content in loaders_plot.draw(record).items():
        store.write_derived(f"loaders.{form}", content)
    points: dict[str, dict[int, float]] = {}
    for row in loaders.rows(record):
        if row["images_per_s"] is not None:
            points.setdefault(row["pipeline"], {})[row["batch_size"]] = row["images_per_s"]
    for pipeline, images_per_s in points.items():
        write_loaders(store.loaders_tensorboard_path(pipeline), images_per_s, on_error=warn)
