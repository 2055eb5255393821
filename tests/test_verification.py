"""Verification finds nothing in a pipeline that is right, and each fault that is planted in one."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UsageError
from bench.verifying import any_wrong, render, verify_all
from pipelines import native
from pipelines.base import Batch
from pipelines.native_ops import moves
from pipelines.native_ops.moves import Places
from pipelines.ops import Crop, HorizontalFlip
from pipelines.verification import statistics
from pipelines.verification.checks import TRIED, Finding, verify

PIPELINE = "native[eager]"


@pytest.fixture
def fresh_kernels() -> Iterator[None]:
    """No kernel of a fault is kept, and none is used that was made before it."""
    native.kernels.cache_clear()
    yield
    native.kernels.cache_clear()


@pytest.mark.parametrize("op", TRIED)
def test_a_pipeline_that_is_right_passes(op: str) -> None:
    finding = verify(PIPELINE, op, "cpu")
    assert finding.status == "ok", finding.problem
    assert finding.error is not None


def test_a_library_that_lacks_the_op_is_skipped_with_the_reason() -> None:
    finding = verify("kornia", "MixUp", "cpu")
    assert (finding.status, finding.problem) == ("skipped", "kornia has no MixUp")


def plant(patch: pytest.MonkeyPatch, op: type, trace: Callable[..., Places]) -> None:
    patch.setitem(moves.MOVES, op, replace(moves.MOVES[op], trace=trace))


@pytest.mark.usefixtures("fresh_kernels")
def test_offsets_that_miss_the_last_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(op: Crop, places: Places, u_B2: Tensor) -> Places:
        return moves.crop(op, places, u_B2 * (2 * op.pad / (2 * op.pad + 1)))

    plant(monkeypatch, Crop, short)
    assert "not drawn evenly" in verify(PIPELINE, "Crop reflect", "cpu").problem


@pytest.mark.usefixtures("fresh_kernels")
def test_a_border_that_is_off_by_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def symmetric(index: Tensor, size: int) -> Tensor:
        return index.abs().clamp(max=size - 1)

    monkeypatch.setattr(moves, "_reflected", symmetric)
    assert "a pixel is off" in verify(PIPELINE, "Crop reflect", "cpu").problem


@pytest.mark.usefixtures("fresh_kernels")
@pytest.mark.parametrize("op", ["Crop zero", "HorizontalFlip"])
def test_one_draw_for_the_whole_batch_is_found(monkeypatch: pytest.MonkeyPatch, op: str) -> None:
    for kind, trace in ((Crop, moves.crop), (HorizontalFlip, moves.horizontal_flip)):

        def alike(
            op: object, places: Places, u: Tensor, trace: Callable[..., Places] = trace
        ) -> Places:
            return trace(op, places, u[:1].expand_as(u))

        plant(monkeypatch, kind, alike)
    problem = verify(PIPELINE, op, "cpu").problem
    assert "not drawn evenly" in problem or "tells that of the next" in problem


def test_labels_that_are_shifted_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = native.NativePipeline._batch

    def shifted(self: native.NativePipeline, *arguments: Tensor) -> Batch:
        x_BCHW, labels = right(self, *arguments)  # type: ignore[arg-type]
        return x_BCHW, labels.roll(1, 0)

    monkeypatch.setattr(native.NativePipeline, "_batch", shifted)
    assert "labels are not those" in verify(PIPELINE, "none", "cpu").problem
    assert "labels are not mixed" in verify(PIPELINE, "MixUp", "cpu").problem


def test_a_way_that_breaks_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*arguments: object) -> Batch:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(native.NativePipeline, "_batch", breaks)
    finding = verify(PIPELINE, "none", "cpu")
    assert (finding.status, finding.problem) == ("wrong", "RuntimeError: no such kernel")


@given(st.floats(0.0, 500.0), st.integers(1, 200))
def test_p_values_are_those_of_the_chi_square_distribution(statistic: float, freedom: int) -> None:
    expected = stats.chi2.sf(statistic, freedom)
    assert statistics.p_value(statistic, freedom) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_even_and_uneven_draws_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    fair = rng.integers(0, 9, 4096)
    assert statistics.even(fair, np.arange(9))
    assert not statistics.even(fair, np.arange(10))
    assert not statistics.even(fair + 1, np.arange(9))
    assert statistics.independent(fair[:-1], fair[1:])
    assert not statistics.independent(fair, (fair * 2) % 9)
    assert statistics.independent(fair, np.zeros(4096, dtype=np.int64))


FINDINGS = [
    Finding(pipeline="native", op="none", status="ok", error=0.001, draws="per sample"),
    Finding(pipeline="dali", op="MixUp", status="skipped", problem="dali has no MixUp"),
]


@pytest.mark.parametrize("form", ["rich", "md", "csv", "json"])
def test_findings_are_shown_in_every_form(form: str) -> None:
    text = render(FINDINGS, form)
    for part in ("native", "dali", "MixUp", "per sample", "dali has no MixUp"):
        assert part in text
    assert not any_wrong(FINDINGS)
    assert any_wrong([*FINDINGS, replace(FINDINGS[0], status="wrong")])


def test_an_unknown_form_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean csv"):
        render(FINDINGS, "cvs")


def test_all_ops_are_tried_on_each_pipeline() -> None:
    said: list[str] = []
    found = verify_all(["dali"], "nowhere", said.append)
    assert [finding.op for finding in found] == list(TRIED)
    assert said == ["verifying dali"]


def test_bench_loaders_verifies_and_exits_by_what_it_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [
        "loaders",
        "--verify",
        "--pipeline",
        PIPELINE,
        "--device",
        "cpu",
        "--format",
        "csv",
    ]
    monkeypatch.setattr("pipelines.verification.checks.TRIED", {"none": TRIED["none"]})
    right = CliRunner().invoke(app, arguments)
    assert right.exit_code == 0, right.output
    assert f"{PIPELINE},none,ok" in right.stdout

    def shifted(self: native.NativePipeline, *arguments: Tensor) -> Batch:
        x_BCHW, labels = batch(self, *arguments)  # type: ignore[arg-type]
        return x_BCHW, labels.roll(1, 0)

    batch = native.NativePipeline._batch
    monkeypatch.setattr(native.NativePipeline, "_batch", shifted)
    wrong = CliRunner().invoke(app, arguments)
    assert wrong.exit_code == 1, wrong.output
    assert "labels are not those of the images" in wrong.stdout
