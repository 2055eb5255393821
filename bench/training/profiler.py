"""Profile of a few training steps: a trace for Perfetto or Chrome, and a table of operations."""

import traceback
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.cell import Run
from bench.store.store import Store

if TYPE_CHECKING:
    from bench.training.cuda_graph import Trainer
    from pipelines.base import Batch, Pipeline

WARM_STEPS, STEPS = 1, 3
TABLE_ROWS = 30
VIEWER = "ui.perfetto.dev"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A profile.

    Args:
        trace: Gzipped JSON in Chrome's trace format; `data` and `step` mark the parts of a step.
        table: Text table of operations by self time.
    """

    trace: bytes
    table: str


def keep_profile(
    store: Store, run_id: str, title: str, trainer: "Trainer", pipeline: "Pipeline", epoch: int
) -> None:
    """Writes `profiles/<run_id>.json.gz` and `.txt`; errors are printed, and the run continues.

    Args:
        trainer: Changes the weights, which must not be used afterwards.
        epoch: Epoch of the pipeline, repeated if it is too short.
    """
    try:
        profile = profile_steps(trainer, pipeline, epoch)
        path = store.write_derived(trace_name(run_id), profile.trace)
        how = "launched" if trainer.captured is None else "replayed"
        text = f"{title}: {STEPS} {how} training steps of {pipeline.request.batch_size} images\n"
        store.write_derived(f"profiles/{run_id}.txt", text + profile.table)
        print(f"profile of {STEPS} steps: {path} (open it at {VIEWER})", flush=True)
    except Exception:  # noqa: BLE001 - must not fail a trained run
        print("the run has no profile:", flush=True)
        traceback.print_exc()


def trace_name(run_id: str) -> str:
    """Path of a run's trace in its group folder."""
    return f"profiles/{run_id}.json.gz"


def traces_summary(folder: Path, runs: Sequence[Run]) -> str:
    """One sentence about the traces of the newly trained runs in group folder `folder`."""
    if not runs:
        return "no traces: no run was trained, and finished runs are not profiled"
    count = sum((folder / trace_name(run.id)).exists() for run in runs)
    text = f"traces of {count} of {len(runs)} runs: {folder / 'profiles'} (open them at {VIEWER})"
    return text if count == len(runs) else f"{text}; the logs of the others say why"


def profile_steps(trainer: "Trainer", pipeline: "Pipeline", epoch: int) -> Profile:
    """Profiles `STEPS` training steps, data included, after `WARM_STEPS`."""
    from torch.profiler import ProfilerActivity, profile, schedule

    from bench.machine.clock import synchronize

    device = pipeline.request.device
    activities = [ProfilerActivity.CPU]
    activities += [ProfilerActivity.CUDA] if device.type == "cuda" else []
    plan = schedule(wait=0, warmup=WARM_STEPS, active=STEPS, repeat=1)
    with (
        closing(_steps(trainer, pipeline, epoch)) as steps,
        profile(activities=activities, schedule=plan) as profiler,
    ):
        for _ in range(WARM_STEPS + STEPS):
            next(steps)
            synchronize(device)
            profiler.step()
    by = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    table = profiler.key_averages().table(
        sort_by=by, row_limit=TABLE_ROWS, max_name_column_width=60
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json.gz"
        profiler.export_chrome_trace(str(path))
        return Profile(trace=path.read_bytes(), table=table)


def _steps(trainer: "Trainer", pipeline: "Pipeline", epoch: int) -> Generator[None, None, None]:
    """Takes a step each time it is advanced, launched or replayed as in the run."""
    from torch.profiler import record_function

    captured = trainer.captured
    if captured is not None and captured.cursor is not None:
        captured.cursor.begin(epoch)
        while True:
            with record_function("step"):  # its graph includes the data
                captured()
            yield
    batches = _endless(pipeline, epoch)
    with closing(batches):
        while True:
            with record_function("data"):
                batch = next(batches)
            with record_function("step"):
                trainer.take(batch)
            yield


def _endless(pipeline: "Pipeline", epoch: int) -> "Generator[Batch, None, None]":
    while True:
        yield from pipeline.epoch(epoch)
