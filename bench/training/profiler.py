"""A trace of a few training steps, for Perfetto or Chrome, and a table of what took longest."""

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
    from bench.training.loop import Step
    from pipelines.base import Batch, Pipeline

WARM_STEPS, STEPS = 1, 3
ROWS = 30  # of the table, so that it is one page
VIEWER = "ui.perfetto.dev"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What was recorded.

    Args:
        trace: Chrome's trace format as gzipped JSON; `data` and `step` mark the parts of a step.
        table: Text: operations by the time they took themselves.
    """

    trace: bytes
    table: str


def keep_profile(
    store: Store, run_id: str, title: str, step: "Step", pipeline: "Pipeline", epoch: int
) -> None:
    """Writes `profiles/<run_id>.json.gz` and `.txt`; a fault is printed and costs no run.

    Args:
        store: Of the group.
        run_id: Of the run.
        title: Stands over the table.
        step: To profile; the weights that it trains are of no use afterwards.
        pipeline: Feeds it.
        epoch: Index of the pipeline's epoch that is used, again from its start if it is short.
    """
    try:
        found = profile_steps(step, pipeline, epoch)
        path = store.write_derived(trace_name(run_id), found.trace)
        text = f"{title}: {STEPS} training steps of {pipeline.request.batch_size} images\n"
        store.write_derived(f"profiles/{run_id}.txt", text + found.table)
        print(f"profile of {STEPS} steps: {path} (open it at {VIEWER})", flush=True)
    except Exception:  # noqa: BLE001 - a profile that fails must not cost a trained run
        print("the run has no profile:", flush=True)
        traceback.print_exc()


def trace_name(run_id: str) -> str:
    """Where a run's trace is in its group."""
    return f"profiles/{run_id}.json.gz"


def traces_told(folder: Path, runs: Sequence[Run]) -> str:
    """One sentence on the traces that runs which were to be profiled have left.

    Args:
        folder: Of the group.
        runs: Those that were trained now; a run that was done already has no new trace.
    """
    if not runs:
        return "no traces: no run was trained now, and what is done is not profiled"
    found = sum((folder / trace_name(run.id)).exists() for run in runs)
    told = f"traces of {found} of {len(runs)} runs: {folder / 'profiles'} (for {VIEWER})"
    return told if found == len(runs) else f"{told}; the logs of the others say why they have none"


def profile_steps(step: "Step", pipeline: "Pipeline", epoch: int) -> Profile:
    """Records `STEPS` training steps, data included, after `WARM_STEPS` that are not recorded."""
    from torch.profiler import ProfilerActivity, profile, record_function, schedule

    from bench.machine.clock import synchronize

    device = pipeline.request.device
    activities = [ProfilerActivity.CPU]
    activities += [ProfilerActivity.CUDA] if device.type == "cuda" else []
    plan = schedule(wait=0, warmup=WARM_STEPS, active=STEPS, repeat=1)
    with (
        closing(_endless(pipeline, epoch)) as batches,
        profile(activities=activities, schedule=plan) as profiler,
    ):
        for _ in range(WARM_STEPS + STEPS):
            with record_function("data"):
                images_BCHW, labels = next(batches)
            with record_function("step"):
                step(images_BCHW, labels)
            synchronize(device)
            profiler.step()
    by = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    table = profiler.key_averages().table(sort_by=by, row_limit=ROWS, max_name_column_width=60)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json.gz"
        profiler.export_chrome_trace(str(path))
        return Profile(trace=path.read_bytes(), table=table)


def _endless(pipeline: "Pipeline", epoch: int) -> "Generator[Batch, None, None]":
    while True:
        yield from pipeline.epoch(epoch)
