"""One run on generated images: its record, and bitwise reproducibility."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor, nn
from torch._inductor.utils import fresh_cache

import architectures
import pipelines
from architectures.airnet import fit_whitening
from bench import optimizers
from bench.cell import Cell, Run
from bench.job import Job, RecordBuilder
from bench.machine.clock import TrainingClock
from bench.machine.cpu import training_threads
from bench.optimizers import _muon
from bench.record import Point, Record
from bench.store.store import Store
from bench.training import cuda_graph
from bench.training import run as running
from bench.training import setup as preparing
from bench.training.delivery import WARMUP_EPOCH
from bench.training.run import Diverged, train
from bench.training.setup import Shared
from pipelines import sources
from pipelines.base import Batch
from pipelines.evaluation import EvaluationPipeline
from pipelines.kornia import KorniaPipeline
from pipelines.native_ops.kernels import kernels
from pipelines.sources import disk
from pipelines.sources.errors import SourceError
from tests.made_optimizers import compile_quickly

slow = pytest.mark.slow
CELL = Cell(
    architecture="cnn2", optimizer="sgd", augmentation="flip_crop", pipeline="kornia",
    source="shapes", scale="cpu", device="cpu", epochs=2, batch_size=50, width=0.25,
    train_images=300, validation_images=100, test_images=500, target_accuracy=0.01,
)  # fmt: skip


def builder(cell: Cell, folder: Path, seed: int = 0) -> RecordBuilder:
    run, data_dir = Run(cell=cell, seed=seed), str(sources.default_data_dir())
    return RecordBuilder(job=Job(run=run, folder=str(folder), data_dir=data_dir))


def run(cell: Cell, folder: Path, *, seed: int = 0, shared: Shared | None = None) -> Record:
    record = builder(cell, folder, seed)
    with training_threads(cell):
        train(record, shared or Shared(), lambda point: None)
    return record.record("ok")


def outcome(record: Record) -> list[tuple[float | None, ...]]:
    return [(p.train_loss, p.validation_loss, p.validation_accuracy) for p in record.curve]


def test_weights_in_half_precision_train_and_norms_stay_whole(tmp_path: Path) -> None:
    recipe = replace(optimizers.catalog.get("sgd").default_recipe(50), weights="bf16")
    cell = replace(CELL, precision="bf16", recipe=recipe)
    shared = Shared()
    record = run(cell, tmp_path, shared=shared)
    with closing(preparing.prepare(builder(cell, tmp_path), shared, torch.device("cpu"))) as parts:
        dtypes = {
            type(module).__name__: parameter.dtype
            for module in parts.net.module.modules()
            for parameter in module.parameters(recurse=False)
        }
    assert dtypes["BatchNorm2d"] == torch.float32
    assert dtypes["Conv2d"] == dtypes["Linear"] == torch.bfloat16
    assert record.curve[-1].train_loss < record.curve[0].train_loss
    with pytest.raises(ValueError, match="weights in bf16 need --precision bf16"):
        replace(cell, precision="fp32")


def test_a_record_is_complete_and_the_speedrun_protocol_has_no_validation(tmp_path: Path) -> None:
    record = run(CELL, tmp_path)
    assert [point.images for point in record.curve] == [300, 600]
    assert record.metrics.time_to_accuracy_s == record.curve[0].train_s
    assert record.metrics.time_to_accuracy_with_compile_s == pytest.approx(
        record.curve[0].train_s + record.timings.compile_s + record.timings.first_batch_s
    )
    assert record.timings.train_s == record.curve[-1].train_s
    assert record.timings.train_device_s is None
    assert sum(map(sum, record.metrics.confusion)) == 500
    assert record.image_counts == "300 training, 100 validation and 500 test images"
    assert record.throughput.stall_pct == pytest.approx(
        100 * (1 - record.throughput.median / record.throughput.ceiling)
    )
    assert record.augmentation_draws == {"Crop": "per sample", "HorizontalFlip": "per sample"}
    assert record.parameters
    assert record.memory.host_gib
    assert record.memory.host_gib > 0.1
    record = run(replace(CELL, protocol="speedrun"), tmp_path)
    assert [point.validation_accuracy for point in record.curve] == [None, None]
    assert record.metrics.time_to_accuracy_s is None
    assert record.image_counts == "300 training and 500 test images"


def test_saved_predictions_give_the_recorded_scores_in_scikit_learn(tmp_path: Path) -> None:
    record = run(replace(CELL, test_images=None), tmp_path)
    saved = Store(tmp_path).load_predictions(record.run_id)
    truth = pipelines.load("shapes").test.labels.numpy()
    assert (saved.labels == truth).all()
    accuracy = sk.accuracy_score(truth, saved.predictions)
    macro_f1 = sk.f1_score(truth, saved.predictions, average="macro")
    assert record.metrics.accuracy == pytest.approx(accuracy, abs=1e-6)
    assert record.metrics.macro_f1 == pytest.approx(macro_f1, abs=1e-6)


@pytest.mark.parametrize(
    "pipeline",
    ["kornia", *(pytest.param(p, marks=slow) for p in ("native[eager]", "torchvision[workers=1]"))],
)
def test_a_seed_gives_one_curve_whatever_was_before(pipeline: str, tmp_path: Path) -> None:
    cell = replace(CELL, pipeline=pipeline)
    alone = run(cell, tmp_path / "alone")
    shared = Shared()
    run(replace(CELL, optimizer="muon", architecture="cnn4"), tmp_path / "other", shared=shared)
    after = run(cell, tmp_path / "after", shared=shared)
    assert outcome(after) == outcome(alone)
    assert outcome(run(cell, tmp_path / "seed1", seed=1)) != outcome(alone)


def test_a_compiled_net_can_be_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_quickly(monkeypatch)
    cell = replace(CELL, compile=True, pipeline="native[eager]")
    alone = run(cell, tmp_path / "alone")
    torch.compiler.reset()  # else the next net finds the graphs of this one
    shared = Shared()
    other = run(
        replace(cell, optimizer="adamw", augmentation="none"), tmp_path / "other", shared=shared
    )
    again = run(cell, tmp_path / "again", shared=shared)
    assert len(shared.nets) == 1
    assert again.timings.compile_s == other.timings.compile_s > 0
    assert outcome(again) == outcome(alone)
    for record in (alone, again):
        assert not any("compiled" in reason for reason in record.timing_suspect)


@pytest.mark.parametrize(
    ("cell", "starts"),
    [
        (replace(CELL, compile=True, pipeline="native[eager]"), 1),
        (replace(CELL, pipeline="native"), 1),
        (replace(CELL, pipeline="native[eager]"), 0),
    ],
    ids=["a net", "a pipeline", "nothing"],
)
def test_the_compiler_is_started_once_before_anything_is_compiled(
    cell: Cell, starts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []

    def compile_nothing(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        compiled.append("net" if isinstance(function, torch.nn.Module) else function.__name__)
        return function

    monkeypatch.setattr(torch, "compile", compile_nothing)
    shared = Shared()
    for folder in ("one", "two"):
        run(cell, tmp_path / folder, shared=shared)
    assert [place for place, name in enumerate(compiled) if name == "<lambda>"] == [0][:starts]


@slow
def test_a_record_states_where_its_compiled_code_came_from(tmp_path: Path) -> None:
    cell = replace(CELL, pipeline="native", augmentation="none")
    origins = []
    with fresh_cache():
        for folder in ("first", "second"):
            torch.compiler.reset()  # as in another process
            kernels.cache_clear()
            origins.append(run(cell, tmp_path / folder).compiled)
    origins.append(run(replace(cell, pipeline="native[eager]"), tmp_path / "eager").compiled)
    assert origins == ["anew", "from cache", ""]


@pytest.mark.parametrize(
    ("counts", "origin"),
    [
        ({}, ""),
        ({"miss": 2}, "anew"),
        ({"hit": 1, "miss": 1}, "partly from cache"),
        ({"hit": 2}, "from cache"),
    ],
)
def test_origin_of_code(counts: dict[str, int], origin: str) -> None:
    assert running.origin_of_code(Counter(counts)) == origin


def test_shared_code_has_one_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([Counter(), Counter(miss=1), Counter(miss=1, hit=1), *[Counter[str]()] * 3])
    monkeypatch.setattr(running, "cache_counts", lambda: next(counts))
    shared = Shared()
    origins = [run(CELL, tmp_path / folder, shared=shared).compiled for folder in ("one", "two")]
    assert origins == ["partly from cache"] * 2


@slow
def test_runs_share_a_compiled_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forces the rule for GPUs."""
    compile_quickly(monkeypatch)
    torch.compiler.reset()
    cell = replace(CELL, compile=True, pipeline="native[eager]", optimizer="muon")
    wanted = run(cell, tmp_path / "as it is")
    torch.compiler.reset()  # else the next net finds the graphs of this one
    for module in (preparing, running):
        monkeypatch.setattr(
            module, "compiles_update", lambda _, optimizer: hasattr(optimizer, "compile_step")
        )
    shared = Shared()
    runs = [
        run(replace(cell, **changes), tmp_path / name, shared=shared)
        for name, changes in (("first", {}), ("other", {"optimizer": "sgd"}), ("again", {}))
    ]
    first, other, again = (record.timings.compile_s for record in runs)
    assert first == again > other > 0
    torch.testing.assert_close(outcome(runs[0]), outcome(wanted), rtol=1e-3, atol=1e-4)
    for record in runs:
        assert not any("compiled" in reason for reason in record.timing_suspect)


def test_updates_are_compiled_on_a_gpu_where_the_net_is() -> None:
    net = architectures.build("cnn4", width=0.125)
    muon, sgd = (
        entry.build(net, entry.default_recipe(64))
        for entry in map(optimizers.catalog.get, ("muon", "sgd"))
    )
    of_gpu = replace(CELL, device="cuda", compile=True)
    assert preparing.compiles_update(of_gpu, muon)
    assert not preparing.compiles_update(of_gpu, sgd)
    assert not preparing.compiles_update(replace(of_gpu, compile=False), muon)
    assert not preparing.compiles_update(replace(of_gpu, device="cpu"), muon)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_muon_orthogonalises_in_the_cells_precision(
    precision: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[torch.dtype] = set()

    def orthogonalise(x_BMN: torch.Tensor, steps: int) -> torch.Tensor:
        seen.add(x_BMN.dtype)
        return x_BMN

    monkeypatch.setattr(_muon, "orthogonalise", orthogonalise)
    run(replace(CELL, optimizer="muon", precision=precision), tmp_path)
    assert seen == {dtype}


@slow
def test_a_warm_up_compiles_freeze_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_quickly(monkeypatch)
    torch.compiler.reset()
    cell = replace(
        CELL, architecture="airnet94", width=0.125, compile=True, protocol="speedrun",
        pipeline="native[eager]", test_images=100,
    )  # fmt: skip
    record = run(cell, tmp_path)
    assert not any("compiled" in reason for reason in record.timing_suspect)
    net = architectures.build("airnet94", width=0.125)
    assert record.parameters
    assert record.parameters < sum(weight.numel() for weight in net.parameters())


def test_images_that_change_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_compared", {})
    data_dir = tmp_path / "data"
    draft = builder(CELL, tmp_path)
    draft.job = replace(draft.job, data_dir=str(data_dir))

    def rot(point: Point) -> None:
        (path,) = data_dir.rglob("test_labels.npy")
        status = path.stat()
        with path.open("r+b") as file:
            file.seek(-8, os.SEEK_END)
            file.write(bytes([9]))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    with pytest.raises(SourceError, match=r"the bytes of test_images.npy or test_labels.npy"):
        train(draft, Shared(), rot)
    assert draft.curve


def test_the_test_set_is_used_once_and_all_pipelines_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    epoch = EvaluationPipeline.epoch

    def counted(pipeline: EvaluationPipeline, index: int) -> Iterator[Batch]:
        sizes.append(len(pipeline.request.images))
        return epoch(pipeline, index)

    monkeypatch.setattr(EvaluationPipeline, "epoch", counted)
    events = []
    kornia_epoch = KorniaPipeline.epoch

    def watched(pipeline: KorniaPipeline, index: int) -> Iterator[Batch]:
        events.append(f"begin {index}")
        try:
            yield from kornia_epoch(pipeline, index)
        finally:
            events.append(f"end {index}")

    monkeypatch.setattr(KorniaPipeline, "epoch", watched)
    monkeypatch.setattr(KorniaPipeline, "close", lambda pipeline: events.append("close"))
    monkeypatch.setattr(EvaluationPipeline, "close", lambda pipeline: events.append("close"))
    run(CELL, tmp_path)
    warm, *rest = [events[at : at + 2] for at in range(0, len(events) - 3, 2)]
    assert warm == [f"begin {WARMUP_EPOCH}", f"end {WARMUP_EPOCH}"]
    assert rest == [["begin 0", "end 0"], ["begin 1", "end 1"]]
    assert events[-3:] == ["close"] * 3
    assert sizes == [100, 100, 500]


def test_an_infinite_loss_ends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit_epoch = cuda_graph.train_epoch
    losses = iter([1.0, float("nan")])
    monkeypatch.setattr(
        cuda_graph, "train_epoch", lambda *parts: fit_epoch(*parts) * 0 + next(losses)
    )
    record = builder(CELL, tmp_path)
    with pytest.raises(Diverged, match="nan in epoch 2"):
        train(record, Shared(), lambda point: None)
    assert len(record.curve) == 2


def test_fitting_is_prepared_off_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = replace(CELL, architecture="airnet94", pipeline="native[eager]", batch_size=100)
    calls: list[tuple[bool, Tensor]] = []
    on_the_clock = [False]
    entry = architectures.get("airnet94")

    class Watched(TrainingClock):
        @contextmanager
        def running(self) -> Iterator[None]:
            on_the_clock[0] = True
            with super().running():
                yield
            on_the_clock[0] = False

    def fit(net: nn.Module, images_NCHW: Tensor) -> None:
        calls.append((on_the_clock[0], images_NCHW))
        fit_whitening(net, images_NCHW)

    monkeypatch.setattr(running, "TrainingClock", Watched)
    monkeypatch.setattr(architectures, "get", lambda name: replace(entry, fit=fit))
    run(cell, tmp_path)
    (first, one), (second, two) = calls
    assert (first, second) == (False, True)
    assert torch.equal(one, two)
