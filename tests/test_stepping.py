"""Whole runs whose steps are replayed, and what is said where they cannot be.

On a CPU a tape stands in for CUDA graphs (`tests/tape.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import ceiling, optimizers, stepping
from bench.cell import Cell, Run
from bench.draft import Draft, Job
from bench.prepare import Parts, Shared, prepare
from bench.record import GRAPH
from bench.record_text import decode, encode
from pipelines import sources
from tests.tape import capture as tape
from tests.test_run import CELL, outcome, run

DEEP = replace(CELL, architecture="airnet94", optimizer="muon_sgd", pipeline="native[eager]")


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps are captured as on a GPU; grows by one with each capture."""
    count: list[int] = []

    def counted(work: Callable[[], None], draws: Sequence[torch.Generator]) -> Any:
        count.append(len(draws))
        return tape(work, draws)

    def capture_for(draft: Draft, parts: Parts) -> Any:
        draft.stepping = GRAPH
        return counted

    monkeypatch.setattr(ceiling, "capture_for", capture_for)
    return count


@pytest.mark.parametrize(
    ("cell", "draws"),
    [
        (replace(CELL, pipeline="native[eager]"), [0, 1]),
        (replace(CELL, pipeline="kornia", optimizer="adamw"), [0, 0]),
        (DEEP, [0, 1, 1]),  # the ceiling's, then one for each state of what is frozen
    ],
)
def test_a_run_that_is_replayed_is_the_run_that_is_launched(
    cell: Cell, draws: list[int], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    wanted = run(cell, tmp_path / "launched")
    count = request.getfixturevalue("captured")
    found = run(cell, tmp_path / "replayed")
    assert count == draws
    torch.testing.assert_close(outcome(found), outcome(wanted), rtol=1e-3, atol=1e-4)
    assert [p.learning_rate for p in found.curve] == [p.learning_rate for p in wanted.curve]
    assert found.metrics is not None
    assert wanted.metrics is not None
    assert found.metrics.accuracy == pytest.approx(wanted.metrics.accuracy, abs=0.01)
    assert (wanted.stepping, found.stepping) == ("", "one CUDA graph")
    assert wanted.timings.capture_s == 0
    assert 0 < found.timings.capture_s < found.timings.warmup_s
    assert found.metrics.time_to_accuracy_with_compile_s == pytest.approx(
        found.curve[0].train_s + found.timings.once_s
    )
    assert not [text for text in found.timing_suspect if "launched" in text]


def test_a_capture_that_fails_is_said_and_costs_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = run(CELL, tmp_path / "launched")

    def broken(work: Callable[[], None], draws: Sequence[torch.Generator]) -> Any:
        work()
        raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors")

    monkeypatch.setattr(ceiling, "capture_for", lambda draft, parts: broken)
    found = run(CELL, tmp_path / "failed")
    assert outcome(found) == outcome(wanted)
    said = "a CUDA graph of it failed (operation not permitted when stream is capturing)"
    assert found.stepping == f"launched one operation at a time: {said}"
    assert f"each step was launched by Python, as {said}" in found.timing_suspect
    assert "Traceback" in capfd.readouterr().err
    assert decode(encode(found)) == replace(found, content_hash=decode(encode(found)).content_hash)


def parts_of(cell: Cell, tmp_path: Path) -> tuple[Draft, Parts]:
    job = Job(
        run=Run(cell=cell, seed=0), folder=str(tmp_path), data_dir=str(sources.default_data_dir())
    )
    draft = Draft(job=job)
    return draft, prepare(draft, Shared(), torch.device("cpu"))


@pytest.mark.parametrize("name", list(optimizers.catalog.entries))
def test_which_runs_are_captured_on_a_gpu(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "CudaCapture", lambda device: tape)
    draft, parts = parts_of(replace(CELL, optimizer=name), tmp_path)
    assert stepping.capture_for(draft, parts) is None
    assert draft.stepping == ""
    compiled = replace(parts, device=torch.device("cuda"), cell=replace(parts.cell, compile=True))
    capturable = optimizers.catalog.get(name).capturable
    assert (stepping.capture_for(draft, compiled) is tape) == capturable
    why = f"launched one operation at a time: {name} counts or decides on the host"
    assert draft.stepping == ("one CUDA graph" if capturable else why)
    plain = replace(compiled, cell=parts.cell)
    assert stepping.capture_for(draft, plain) is None
    assert draft.stepping.endswith(": nothing is compiled (--no-compile)")


def test_a_step_that_diverges_is_noticed_in_a_graph_too(
    captured: list[int], tmp_path: Path
) -> None:
    recipe = optimizers.catalog.get("sgd").default_recipe(CELL.batch_size)
    cell = replace(CELL, pipeline="native[eager]", recipe=replace(recipe, lr=1e30))
    with pytest.raises(RuntimeError, match="loss was"):
        run(cell, tmp_path)
