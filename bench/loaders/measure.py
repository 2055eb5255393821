"""Measures each pipeline alone, without a model.

Each pipeline and batch size has its own process, so that compilation and memory are comparable.
The processes of one batch size live at the same time and measure in turns, so that a temporary
disturbance of the machine affects all of them. Each has its own folder for compiled code.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import msgspec

from bench.errors import UsageError
from bench.executors.protocol import STARTUP_TIMEOUT_S, Ready, Worker, WorkerLost
from bench.loaders import page_cache
from bench.loaders.plan import REPLAYED, Candidate, Plan
from bench.loaders.worker import (
    Build,
    Built,
    Describe,
    Described,
    Failed,
    Measure,
    Measured,
    Request,
    read_reply,
)
from bench.process import signals_deferred, signals_raise
from bench.record import Status
from bench.store.files import slug
from bench.store.loaders_record import LEAST_REPEATS, LoadersRecord, Repeat, Series
from bench.store.store import Store
from bench.text import Log
from bench.training.timing_checks import timing_problems

ReplyT = TypeVar("ReplyT", bound=msgspec.Struct)


class RequestFailed(RuntimeError):
    """A worker could not carry out a request."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(kw_only=True)
class Measurement:
    """A series that is being measured, and its worker, if it is running."""

    series: Series
    worker: Worker | None = None

    def start(self, store: Store, scratch: Path) -> None:
        """Starts the worker, unless the series has failed already."""
        if self.series.status != "ok":
            return
        name = slug(f"loaders {self.series.pipeline} {self.series.batch_size}")
        with signals_deferred():
            self.worker = start_worker(store, name, scratch / name)

    def request(
        self, request: Request | None, reply_type: type[ReplyT], timeout_s: float
    ) -> ReplyT | None:
        """The worker's reply; None if the series fails or failed before."""
        if self.worker is None:
            return None
        try:
            return ask(self.worker, request, reply_type, timeout_s)
        except RequestFailed as error:
            self.series = replace(self.series, status=error.status, reason=error.reason)
            self.stop()
            return None

    def stop(self) -> None:
        """Ends the worker; safe to call twice."""
        if self.worker is not None:
            with signals_deferred():
                self.worker.stop()
            self.worker = None


def start_worker(store: Store, name: str, compiled_code: Path) -> Worker:
    """Starts a worker whose output goes to the log of that name."""
    return Worker.start(
        name,
        store.fresh_log(name),
        module="bench.loaders.worker",
        environment={"TORCHINDUCTOR_CACHE_DIR": str(compiled_code)},
    )


def ask(
    worker: Worker, request: Request | None, reply_type: type[ReplyT], timeout_s: float
) -> ReplyT:
    """Sends a request, or none to a worker that starts, and waits for the reply.

    Raises:
        RequestFailed: The worker died, took too long, or replied that it failed.
    """
    if request is not None:
        worker.send(request)
    try:
        reply = worker.receive(read_reply, time.monotonic() + timeout_s, starts=request is None)
    except TimeoutError:
        reason = f"no answer within {timeout_s:g} s, so it was stopped"
        raise RequestFailed("timeout", reason) from None
    except WorkerLost as error:
        raise RequestFailed("crashed", f"{error}; logs/{worker.key}.log") from error
    if isinstance(reply, Failed):
        raise RequestFailed(reply.status, reply.reason)
    if not isinstance(reply, reply_type):
        unexpected = f"it answered {type(reply).__name__}, not {reply_type.__name__}"
        raise RequestFailed("crashed", unexpected)
    return reply


def measure(plan: Plan, log: Log) -> LoadersRecord:
    """Measures everything, then stops all workers; unfinished series are marked as interrupted.

    Raises:
        KeyboardInterrupt: Interrupted before the first repeat.
        StoreError: The results folder cannot be written or is in use.
        UsageError: The machine could not be described.
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
                measure_batch_size(plan, size, store, Path(scratch), log, series)
        except KeyboardInterrupt:
            if not any(each.repeats for each in series):
                raise
    return replace(header, series=with_missing(plan, series))


def with_missing(plan: Plan, series: list[Series]) -> tuple[Series, ...]:
    """Adds the series of batch sizes that were not started, as interrupted."""
    started = {each.batch_size for each in series}
    reason = "the command ended before it was started"
    return (
        *series,
        *(
            interrupted(unmeasured(candidate, size), reason)
            for size in plan.batch_sizes
            if size not in started
            for candidate in plan.candidates
        ),
    )


def interrupted(series: Series, reason: str) -> Series:
    """Marks a series as interrupted, unless it failed before."""
    if series.status != "ok":
        return series
    return replace(series, status="interrupted", reason=reason)


def describe(plan: Plan, store: Store, scratch: Path) -> Described:
    """Describes the machine, in a worker that ends before any other starts.

    Raises:
        UsageError: The worker failed.
    """
    worker = start_worker(store, "loaders-machine", scratch / "machine")
    try:
        ask(worker, None, Ready, STARTUP_TIMEOUT_S)
        return ask(worker, Describe(device=plan.header.device), Described, plan.patience_s)
    except RequestFailed as error:
        raise UsageError(f"the {plan.header.device} cannot be measured here: {error}") from error
    finally:
        with signals_deferred():
            worker.stop()


def measure_batch_size(
    plan: Plan, batch_size: int, store: Store, scratch: Path, log: Log, series: list[Series]
) -> None:
    """Measures all pipelines at one batch size, in turns; extends `series` even if interrupted."""
    measurements = [
        Measurement(series=unmeasured(candidate, batch_size)) for candidate in plan.candidates
    ]
    try:
        for measurement in measurements:
            measurement.start(store, scratch)
        for measurement in measurements:
            measurement.request(None, Ready, STARTUP_TIMEOUT_S)
        for measurement in measurements:
            build(plan, measurement)
        if plan.cold:
            log(f"batch size {batch_size}: a repeat with an empty page cache")
            for measurement in measurements:
                if measurement.series.reads == "files":
                    repeat(plan, measurement, measurements, cold=True)
        if plan.files:
            log(f"reading {len(plan.files)} image files into the page cache")
            with suppress(OSError):  # of a file that is gone; the pipelines name it
                page_cache.warm(plan.files)
        for number in range(1, 2 * plan.repeats + 1):
            left = [each for each in measurements if each.worker and wants_more(plan, each.series)]
            if not left:
                break
            what = f"repeat {number} of {plan.repeats}"
            if number > plan.repeats:
                extra = number - plan.repeats
                what = f"disturbed repeats again, {extra} of at most {plan.repeats}"
            log(f"batch size {batch_size}: {what}")
            for measurement in left:
                repeat(plan, measurement, measurements)
    finally:
        with signals_deferred():
            for measurement in measurements:
                measurement.stop()
                if not is_complete(plan, measurement.series.repeats):
                    done = len(measurement.series.repeats)
                    reason = f"stopped after {done} of {plan.repeats} repeats"
                    measurement.series = interrupted(measurement.series, reason)
            series += [measurement.series for measurement in measurements]
    for measurement in measurements:
        if measurement.series.status != "ok":
            failed = measurement.series
            log(f"{failed.status:<8} {failed.pipeline}: {failed.reason}")


def unmeasured(candidate: Candidate, batch_size: int) -> Series:
    """A series without repeats; already skipped if the pipeline cannot run here."""
    return Series(
        pipeline=candidate.name,
        batch_size=batch_size,
        compiled=candidate.compiled,
        reads=candidate.reads,
        status="skipped" if candidate.problem else "ok",
        reason=candidate.problem,
    )


def build(plan: Plan, measurement: Measurement) -> None:
    """Builds the pipeline in its worker and takes a first batch."""
    header, series = plan.header, measurement.series
    request = Build(
        pipeline=series.pipeline.removesuffix(REPLAYED),
        replay=series.pipeline.endswith(REPLAYED),
        source=header.source,
        data_dir=str(plan.data_dir),
        augmentation=header.augmentation,
        batch_size=series.batch_size,
        device=header.device,
        precision=header.precision,
        plugins=dict(plan.plugins),
    )
    built = measurement.request(request, Built, plan.patience_s)
    if built is not None:
        measurement.series = replace(
            series,
            draws=built.draws,
            differs=built.differs,
            build_s=built.build_s,
            first_batch_s=built.first_batch_s,
            bytes_per_image=built.bytes_per_image,
            memory=built.memory,
            processes_gib=built.processes_gib,
        )


def repeat(
    plan: Plan, measurement: Measurement, measurements: Sequence[Measurement], *, cold: bool = False
) -> None:
    """Measures a repeat in the worker, and adds it to the series, with the peak memory.

    Args:
        measurements: All measurements whose workers may be on the device.
        cold: Whether the repeat finds no image file in the page cache.
    """
    request = Measure(seconds=plan.header.repeat_s, cold=cold)
    measured = measurement.request(request, Measured, plan.patience_s + request.seconds)
    if measured is None:
        return
    series = measurement.series
    peaks_gib = [
        each for each in (series.processes_gib, measured.processes_gib) if each is not None
    ]
    own_others = sum(each.worker is not None for each in measurements) - 1  # idle meanwhile
    others = max(0, (measured.conditions.gpu_others or 0) - own_others)
    conditions = replace(measured.conditions, gpu_others=others)
    problems = timing_problems(recompiled=measured.recompiled, conditions=conditions)
    new = replace(measured.repeat, timing_suspect=tuple(problems))
    measurement.series = replace(
        series,
        repeats=series.repeats if cold else (*series.repeats, new),
        cold=new if cold else series.cold,
        memory=measured.memory,
        processes_gib=max(peaks_gib, default=None),
    )


def is_complete(plan: Plan, repeats: Sequence[Repeat]) -> bool:
    """Whether these are all the repeats of a series; a slow one gets fewer."""
    if len(repeats) >= plan.repeats:
        return True
    took_s = sum(repeat.images / repeat.images_per_s for repeat in repeats)
    return len(repeats) >= LEAST_REPEATS and took_s >= plan.series_s


def wants_more(plan: Plan, series: Series) -> bool:
    """Whether repeats are missing; disturbed ones are repeated, up to twice as many in all."""
    twice = replace(plan, repeats=2 * plan.repeats, series_s=2 * plan.series_s)
    return not (is_complete(plan, series.undisturbed) or is_complete(twice, series.repeats))


def exit_code(record: LoadersRecord) -> int:
    """130 if it was interrupted, 1 if a pipeline failed, else 0; skipped ones did not fail."""
    statuses = {series.status for series in record.series}
    if "interrupted" in statuses:
        return 130
    return 1 if statuses - {"ok", "skipped"} else 0
