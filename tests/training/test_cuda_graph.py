"""Replayed steps train like launched ones; on a CPU a tape stands in for CUDA graphs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pipelines
from bench import optimizers
from bench.cell import Cell
from bench.job import RecordBuilder
from bench.record import GRAPH
from bench.store.codec import decode, encode
from bench.training import ceiling, cuda_graph
from bench.training.cuda_graph import CapturedStep, capture_step, generators_released
from bench.training.loop import Step, train_epoch
from bench.training.setup import Parts, Shared, prepare
from pipelines.base import Pipeline
from tests.made_optimizers import NAMES, made_step, make_net
from tests.tape import NotPermitted
from tests.tape import capture as tape
from tests.training.test_run import CELL, builder, outcome, run

CPU = torch.device("cpu")
EPOCHS, BATCH, IMAGES = 3, 8, 29
STEPS = EPOCHS * (IMAGES // BATCH)
CAPTURABLE = [name for name in NAMES if optimizers.catalog.get(name).capturable]


def fed(policy: str = "flip_crop", pipeline: str = "native[eager]") -> Pipeline:
    whole = pipelines.load("shapes").train
    images = replace(whole, images=whole.images[:IMAGES], labels=whole.labels[:IMAGES])
    return pipelines.build(pipeline, images, policy, batch_size=BATCH)


def remembered(net: nn.Module) -> Callable[[], None]:
    weights = {name: value.clone() for name, value in net.state_dict().items()}

    def restore() -> None:
        net.load_state_dict(weights)
        net.zero_grad(set_to_none=True)
        torch.manual_seed(7)

    return restore


def taped(step: Step, net: nn.Module, pipeline: Pipeline) -> CapturedStep:
    cursor = pipeline.cursor()
    if cursor is not None:
        cursor.begin(99)
    images_BCHW, labels = next(iter(pipeline.epoch(99)))
    source = cursor or (images_BCHW.clone(), labels.clone())
    return capture_step(step, source, tape, remembered(net), step.freeze_states)


def launched(name: str, pipeline: Pipeline, **more: Any) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The loss of each epoch and the final weights."""
    net = make_net(more.pop("net", "cnn2"))
    step = made_step(net, name, steps=STEPS, **more)
    torch.manual_seed(7)
    sums = [train_epoch(step, pipeline.epoch(index), CPU) for index in range(EPOCHS)]
    return sums, net.state_dict()


def again(name: str, pipeline: Pipeline, **more: Any) -> tuple[list[Tensor], dict[str, Tensor]]:
    net = make_net(more.pop("net", "cnn2"))
    replay = taped(made_step(net, name, steps=STEPS, **more), net, pipeline)
    return [replay.epoch(pipeline, index) for index in range(EPOCHS)], net.state_dict()


def same(one: tuple[list[Tensor], dict[str, Tensor]], other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert torch.stack(one[0]).isfinite().all()


@pytest.mark.parametrize("name", CAPTURABLE)
def test_a_capturable_optimizer_is_replayed(name: str) -> None:
    with fed() as pipeline:
        same(launched(name, pipeline), again(name, pipeline))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in CAPTURABLE])
def test_other_optimizers_cannot_be_captured(name: str) -> None:
    with fed() as pipeline:
        wanted = launched(name, pipeline)
        try:
            found = again(name, pipeline)
        except (NotPermitted, RuntimeError, TypeError):
            return
    with pytest.raises(AssertionError):
        same(wanted, found)


@pytest.mark.parametrize("name", ["sgd", "muon_sgd"])
def test_each_freeze_state_has_a_graph(name: str) -> None:
    with fed("alternating_flip_crop") as pipeline:
        net = make_net("airnet94")
        replay = taped(made_step(net, name, steps=STEPS), net, pipeline)
        assert len(replay.graphs) == 2
        same(launched(name, pipeline, net="airnet94"), again(name, pipeline, net="airnet94"))


@pytest.mark.parametrize(
    ("policy", "more"),
    [
        *((policy, {}) for policy in ("mixup", "cutmix", "randaugment", "alternating_flip_crop")),
        *(("flip_crop", {"average": average}) for average in ("ema", "lookahead")),
    ],
)
def test_a_graph_with_any_policy_and_average(policy: str, more: dict[str, str]) -> None:
    with fed(policy) as pipeline:
        same(launched("sgd", pipeline, **more), again("sgd", pipeline, **more))


def test_batches_of_other_pipelines_are_copied_and_a_cursor_restarts() -> None:
    with fed(pipeline="kornia") as pipeline:
        assert pipeline.cursor() is None
        same(launched("sgd", pipeline), again("sgd", pipeline))
    with fed() as pipeline:
        cursor = pipeline.cursor()
        cursor.begin(0)
        labels = [cursor.next()[1] for _ in range(2 * pipeline.steps_per_epoch)]
        whole = pipeline.steps_per_epoch
        torch.testing.assert_close(labels[:whole], labels[whole:])
        torch.testing.assert_close(labels[:whole], [labels_B for _, labels_B in pipeline.epoch(0)])


def test_dropout_is_redrawn_at_each_replay() -> None:
    with fed("none") as pipeline:
        net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 32 * 32, 10))
        step = made_step(net, "sgd", steps=STEPS)
        images_BCHW, labels = next(iter(pipeline.epoch(0)))
        replay = capture_step(
            step, (images_BCHW, labels), tape, remembered(net), step.freeze_states
        )
        sums = []
        for group in step.optimizer.param_groups:
            group["lr"].zero_()
        step.schedule._table_SG.zero_()
        for _ in range(4):
            replay.loss_sum.zero_()
            replay()
            sums.append(replay.loss_sum.item())
        assert len(set(sums)) == 4


def test_a_capture_restores_the_state() -> None:
    with fed() as pipeline:
        net = make_net("cnn2")
        before = {name: value.clone() for name, value in net.state_dict().items()}
        step = made_step(net, "adamw", steps=STEPS)
        rates = [float(group["lr"]) for group in step.optimizer.param_groups]
        replay = taped(step, net, pipeline)
        torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
        now = [float(group["lr"]) for group in step.optimizer.param_groups]
        assert now == pytest.approx(rates)
        state = [v for state in step.optimizer.state.values() for v in state.values()]
        assert all(not value.any() for value in state if isinstance(value, Tensor))
        first = [replay.epoch(pipeline, index) for index in range(2)]
        replay.restore()
        torch.testing.assert_close([replay.epoch(pipeline, index) for index in range(2)], first)


def test_a_failed_capture_releases_its_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []

    class Nothing:
        def register_generator_state(self, generator: torch.Generator) -> None:
            done.append(generator)

    @contextmanager
    def graph(made: Nothing, stream: Any) -> Iterator[None]:
        done.append(stream)
        yield
        done.append("ended")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Nothing)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    draws, stream = torch.Generator(), SimpleNamespace(device="cpu")
    with generators_released([draws], stream):
        pass
    assert not done
    with pytest.raises(ValueError, match="first"), generators_released([draws], stream):
        raise ValueError("the first error")
    assert done == [draws, stream, "ended"]


DEEP = replace(CELL, architecture="airnet94", optimizer="muon_sgd", pipeline="native[eager]")


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps are captured as on a GPU; the list grows with each capture."""
    count: list[int] = []

    def counted(work: Callable[[], None], draws: Sequence[torch.Generator]) -> Any:
        count.append(len(draws))
        return tape(work, draws)

    def capture_for(draft: RecordBuilder, parts: Parts) -> Any:
        draft.stepping = GRAPH
        return counted

    monkeypatch.setattr(ceiling, "capture_for", capture_for)
    return count


@pytest.mark.parametrize(
    ("cell", "draws"),
    [
        (replace(CELL, pipeline="native[eager]"), [0, 1]),
        (replace(CELL, pipeline="kornia", optimizer="adamw"), [0, 0]),
        # the ceiling's, then one for each freeze state
        pytest.param(DEEP, [0, 1, 1], marks=pytest.mark.slow),
    ],
)
def test_a_replayed_run_equals_the_launched_run(
    cell: Cell, draws: list[int], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    wanted = run(cell, tmp_path / "launched")
    count = request.getfixturevalue("captured")
    found = run(cell, tmp_path / "replayed")
    assert count == draws
    torch.testing.assert_close(outcome(found), outcome(wanted), rtol=1e-3, atol=1e-4)
    assert [p.learning_rate for p in found.curve] == [p.learning_rate for p in wanted.curve]
    assert found.metrics.accuracy == pytest.approx(wanted.metrics.accuracy, abs=0.01)
    assert (wanted.stepping, found.stepping) == ("", "one CUDA graph")
    assert wanted.timings.capture_s == 0
    assert 0 < found.timings.capture_s < found.timings.warmup_s
    assert found.metrics.time_to_accuracy_with_compile_s == pytest.approx(
        found.curve[0].train_s + found.timings.once_s
    )
    assert not [text for text in found.timing_suspect if "launched" in text]


def test_a_failed_capture_is_recorded_and_fails_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = run(CELL, tmp_path / "launched")

    def broken(work: Callable[[], None], draws: Sequence[torch.Generator]) -> Any:
        work()
        raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors")

    monkeypatch.setattr(ceiling, "capture_for", lambda draft, parts: broken)
    found = run(CELL, tmp_path / "failed")
    assert outcome(found) == outcome(wanted)
    reason = "a CUDA graph of it failed (operation not permitted when stream is capturing)"
    assert found.stepping == f"launched one operation at a time: {reason}"
    assert f"each step was launched by Python, as {reason}" in found.timing_suspect
    assert "Traceback" in capfd.readouterr().err
    assert decode(encode(found)) == replace(found, content_hash=decode(encode(found)).content_hash)


@pytest.mark.parametrize("name", list(optimizers.catalog.entries))
def test_captures_on_a_gpu(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "CudaCapture", lambda device: tape)
    draft = builder(replace(CELL, optimizer=name), tmp_path)
    parts = prepare(draft, Shared(), CPU)
    assert cuda_graph.capture_for(draft, parts) is None
    assert draft.stepping == ""
    compiled = replace(parts, device=torch.device("cuda"), cell=replace(parts.cell, compile=True))
    capturable = optimizers.catalog.get(name).capturable
    assert (cuda_graph.capture_for(draft, compiled) is tape) == capturable
    why = f"launched one operation at a time: {name} counts or decides on the host"
    assert draft.stepping == ("one CUDA graph" if capturable else why)
    plain = replace(compiled, cell=parts.cell)
    assert cuda_graph.capture_for(draft, plain) is None
    assert draft.stepping.endswith(": nothing is compiled (--no-compile)")


def test_divergence_within_a_graph_is_detected(captured: list[int], tmp_path: Path) -> None:
    recipe = optimizers.catalog.get("sgd").default_recipe(CELL.batch_size)
    cell = replace(CELL, pipeline="native[eager]", recipe=replace(recipe, lr=1e30))
    with pytest.raises(RuntimeError, match="loss was"):
        run(cell, tmp_path)
