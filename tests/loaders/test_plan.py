"""The plan of `bench loaders` from its options, and errors."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.loaders import measure, plan
from bench.loaders.plan import Options, choose_batch_sizes
from tests.made_device import NO_GPU, device_is, source_is


def test_default_batch_sizes_are_limited_to_the_source() -> None:
    assert choose_batch_sizes((), 10**6, "cpu") == [128, 512, 2048]
    assert choose_batch_sizes((), 10**6, "cuda") == [128, 512, 2048, 50_000]
    assert choose_batch_sizes((), 1000, "cuda") == [128, 512, 1000]
    assert choose_batch_sizes((64, 8, 64), 1000, "cpu") == [8, 64]


def test_every_variant_is_a_candidate_and_unavailable_ones_have_a_reason() -> None:
    found = {
        candidate.name: candidate
        for candidate in plan.choose_candidates(Options(augmentation="erasing"), "cpu")
    }
    assert {"native", "native[eager]", "kornia", "kornia[compiled]"} <= set(found)
    assert sum(name.startswith("torchvision") for name in found) >= 2
    assert found["native"].compiled
    assert not found["native[eager]"].compiled
    assert found["kornia"].problem == (
        "kornia has no RandomErasing by this suite's definition, but kornia[own] runs its own"
    )
    assert found["kornia[own]"].problem == ""
    assert found["native[eager]"].problem == ""


def test_on_a_gpu_what_a_graph_can_hold_is_measured_both_ways() -> None:
    options = Options(pipelines=["native[eager]", "kornia"])
    found = [one.name for one in plan.choose_candidates(options, "cuda")]
    assert found == ["native[eager]", "native[eager] (replayed)", "kornia"]
    assert plan.choose_candidates(options, "cpu")[1].name == "kornia"


def test_who_decodes_files_has_nothing_to_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import building

    names = ("native", "native (replayed)", "array", "array (replayed)")
    candidates = [plan.Candidate(name=name) for name in names]
    monkeypatch.setattr(building, "reads", lambda name, _: "files" if name == "native" else "array")
    images: Any = None
    found = plan.with_reads(candidates, images)
    assert [(one.name, one.reads) for one in found] == [
        ("native", "files"),
        ("array", "array"),
        ("array (replayed)", "array"),
    ]
    assert choose_batch_sizes((), 1000, "files") == [128]


def test_a_pipeline_requested_twice_is_measured_once() -> None:
    options = Options(pipelines=("kornia", "kornia[eager]"))
    assert [one.name for one in plan.choose_candidates(options, "cpu")] == ["kornia"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without a GPU and with 100 images of `shapes`; nothing may be measured."""
    monkeypatch.chdir(tmp_path)
    device_is(monkeypatch, NO_GPU)
    source_is(monkeypatch, plan, tmp_path, images=100)
    monkeypatch.setattr(measure, "start_worker", lambda *_: pytest.fail("it measured"))


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pipeline", "kornja"], "unknown pipeline 'kornja': did you mean kornia?"),
        (["--pipeline", "kornia[compile]"], "did you mean compiled?"),
        (["--augmentation", "flip_corp"], "unknown augmentation 'flip_corp': did you mean"),
        (["--source", "cifar11"], "unknown source 'cifar11'"),
        (["--device", "gpu"], "unknown value of --device 'gpu'"),
        (["--device", "cuda"], "no GPU can be used here: no NVIDIA driver"),
        (["--batch-size", "0"], "--batch-size is at least 1, got 0"),
        (["--batch-size", "101"], "--batch-size 101 is more than the source's 100 images"),
        (["--repeats", "0"], "--repeats is at least 1, got 0"),
        (["--cold"], "--cold is for pipelines that decode image files: add --source folder:PATH"),
        (["--seconds", "0"], "--seconds is more than 0, got 0"),
        (["--format", "markdown"], "unknown format 'markdown'"),
    ],
)
def test_invalid_requests_give_one_sentence_and_write_nothing(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = CliRunner().invoke(app.app, ["loaders", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []
