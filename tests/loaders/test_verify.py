"""The findings of verification, and how `bench loaders --verify` shows them."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from torch import Tensor
from typer.testing import CliRunner

from bench.cli.app import app
from bench.loaders.verify import any_wrong, render, show, verify_all
from pipelines import native
from pipelines.base import Batch
from pipelines.verification.checks import POLICIES, Finding, verify

PIPELINE = "native[eager]"


@pytest.mark.parametrize(
    ("pipeline", "op", "problem"),
    [
        ("kornia", "RandomChoice", "kornia has no RandomChoice"),
        ("kornia", "MixUp", "kornia has no MixUp by this suite's definition, but kornia[own] runs"),
        ("kornia[own]", "MixUp", "another MixUp: weights are uniform"),
    ],
)
def test_a_library_without_the_op_is_skipped_with_a_reason(
    pipeline: str, op: str, problem: str
) -> None:
    finding = verify(pipeline, op, "cpu")
    assert finding.status == "skipped"
    assert finding.problem.startswith(problem)


def test_a_failing_pipeline_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*arguments: object) -> Batch:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(native.NativePipeline, "batch", breaks)
    finding = verify(PIPELINE, "none", "cpu")
    assert (finding.status, finding.problem) == ("wrong", "RuntimeError: no such kernel")


FINDINGS = [
    Finding(pipeline="native", op="none", status="ok", error=0.001, draws="per sample"),
    Finding(pipeline="dali", op="MixUp", status="skipped", problem="dali has no MixUp"),
]


@pytest.mark.parametrize("form", ["rich", "md", "csv", "json"])
def test_findings_are_shown_in_every_format(form: str) -> None:
    text = render(FINDINGS, form)
    for part in ("native", "dali", "MixUp", "per sample", "dali has no MixUp"):
        assert part in text
    assert not any_wrong(FINDINGS)
    assert any_wrong([*FINDINGS, replace(FINDINGS[0], status="wrong")])


def test_all_ops_are_checked_on_each_pipeline() -> None:
    said: list[str] = []
    found = list(verify_all(["dali"], "nowhere", said.append))
    assert [finding.op for finding in found] == list(POLICIES)
    assert said[0] == "[1/1] verifying dali"
    tried = [finding for finding in found if finding.status != "skipped"]
    assert len(said[1:]) == len(tried)
    for line, finding in zip(said[1:], tried, strict=True):
        assert finding.op in line
        assert finding.status in line


def test_findings_before_an_interruption_are_shown() -> None:
    def stopped() -> Iterator[Finding]:
        yield FINDINGS[0]
        raise KeyboardInterrupt

    said: list[str] = []
    shown: list[Finding] = []
    assert show(stopped(), said.append, shown.extend) == 130
    assert shown == FINDINGS[:1]
    assert "interrupted" in said[-1]


def test_the_exit_code_of_verify_reflects_its_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    words = f"loaders --verify --pipeline {PIPELINE} --device cpu --format csv".split()
    monkeypatch.setattr("pipelines.verification.checks.POLICIES", {"none": POLICIES["none"]})
    right = CliRunner().invoke(app, words)
    assert right.exit_code == 0, right.output
    assert f"{PIPELINE},none,ok" in right.stdout

    def shifted(self: native.NativePipeline, *arguments: Tensor) -> Batch:
        x_BCHW, labels = batch(self, *arguments)
        return x_BCHW, labels.roll(1, 0)

    batch = native.NativePipeline.batch
    monkeypatch.setattr(native.NativePipeline, "batch", shifted)
    wrong = CliRunner().invoke(app, words)
    assert wrong.exit_code == 1, wrong.output
    assert "labels are not in our order" in wrong.stdout
