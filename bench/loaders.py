"""`bench loaders`: each pipeline alone, without a net.

At a batch size every pipeline has a process of its own, all of them alive at once. They build and
measure one at a time, in turns: what disturbs the machine for a while disturbs all of them alike.
A process serves one batch size, so that each pays for its own compilation and starts with the same
memory; compiled code is kept in a folder that is new for each.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.errors import UsageError
from bench.executors.local import STARTUP_TIMEOUT_S
from bench.files import StoreError
from bench.loader_messages import Build, Built, Describe, Described, Measure, Measured
from bench.loader_plan import Candidate, Plan, Report
from bench.loader_record import LEAST_REPEATS, LoadersRecord, Series
from bench.loader_trial import ChildFailed, Trial, ask, start_child
from bench.messages import Ready
from bench.signals import stops_held, stops_raise
from bench.store import Store


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
    with store.lock(), stops_raise(), TemporaryDirectory() as scratch:
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
                    with stops_held():
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
        with stops_held():
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
        with stops_held():
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


def write(record: LoadersRecord, folder: Path, warn: Report) -> None:
    """Leaves the record, its tables, its plot and its scalars in the group folder.

    Raises:
        StoreError: The results folder cannot be written.
    """
    from bench.report import loaders, loaders_plot
    from bench.tensorboard import write_loaders

    store = Store(folder)
    with stops_held():
        for form in ("json", "csv", "md"):
            store.write_derived(f"loaders.{form}", loaders.render(record, form))
        for form, content in loaders_plot.draw(record).items():
            store.write_derived(f"loaders.{form}", content)
    points: dict[str, dict[int, float]] = {}
    for row in loaders.rows(record):
        if row["images_per_s"] is not None:
            points.setdefault(row["pipeline"], {})[row["batch_size"]] = row["images_per_s"]
    for pipeline, images_per_s in points.items():
        write_loaders(store.loaders_tensorboard_path(pipeline), images_per_s, on_error=warn)
