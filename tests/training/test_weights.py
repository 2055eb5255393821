"""`--keep-weights`: the file holds the weights that were tested, and the docs' lines load it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn
from typer.testing import CliRunner

import pipelines
from bench import optimizers
from bench.cell import Cell, Run
from bench.cli import app
from bench.job import Job, RecordBuilder
from bench.recipe import Average
from bench.report.show import find_run, render
from bench.store.artifacts import artifacts
from bench.store.store import Store
from bench.training.run import train
from bench.training.setup import Shared
from bench.training.weights import keep_weights
from pipelines import sources
from pipelines.base import normalise
from pipelines.sources.split import reduced
from pipelines.verification.made_images import numbered
from tests.checkout import ROOT
from tests.made import made_run

LINES = next(
    block
    for block in re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "reference.md").read_text(), re.DOTALL
    )
    if "load_file" in block
)
CELL = Cell(
    architecture="cnn4", optimizer="sgd", augmentation="none", pipeline="native[eager]",
    source="shapes", scale="cpu", device="cpu", epochs=1, batch_size=50, width=0.25,
    train_images=200, validation_images=50, test_images=200,
)  # fmt: skip


def load(path: Path) -> nn.Module:
    """The net, by the lines of the docs."""
    names: dict[str, Any] = {}
    exec(LINES.replace("results/GROUP/weights/RUN.safetensors", str(path)), names)
    net = names["net"]
    assert isinstance(net, nn.Module)
    return net


@pytest.mark.parametrize("average", ["none", "ema"])
def test_the_docs_lines_load_what_was_tested(tmp_path: Path, average: Average) -> None:
    recipe = replace(optimizers.catalog.get("sgd").default_recipe(50), average=average)
    run, store = Run(cell=replace(CELL, recipe=recipe), seed=0), Store(tmp_path)
    data_dir = str(sources.default_data_dir())
    job = Job(run=run, folder=str(tmp_path), data_dir=data_dir, keep_weights=True)
    builder = RecordBuilder(job=job)
    train(builder, Shared(), lambda point: None)
    record = builder.record("ok")
    store.write(record)
    path = store.weights_path(run.id)

    test = reduced(pipelines.load("shapes").test, CELL.test_images)
    with torch.no_grad():
        images = normalise(test.images, test, torch.float32)
        found = load(path)(images).argmax(dim=1).numpy()
    assert (found == store.load_predictions(run.id).predictions).all()

    with safe_open(str(path), "pt") as file:
        about = file.metadata()
    assert (about["architecture"], about["width"]) == ("cnn4", "0.25")
    assert about["classes"].split(", ") == list(test.classes)
    assert f"weights         {path}" in render(find_run(tmp_path, "cnn4"))
    assert f"weights/{run.id}.safetensors" in artifacts(tmp_path, record)


def test_weights_of_an_earlier_attempt_are_removed_before_the_next(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.write_derived("weights/f00d.safetensors", b"old")
    store.fresh_log("f00d")
    assert not path.exists()


class Tied(nn.Module):
    """Two names for one weight, in another memory format."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        self.other = self.one


class Odd(nn.Linear):
    """State that isn't a tensor."""

    def get_extra_state(self) -> Any:
        return {"not": "a tensor"}


def test_shared_weights_are_kept_and_what_cannot_be_kept_fails_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, images, store = made_run(), numbered(10), Store(tmp_path)
    keep_weights(store, run, Tied(), images)
    assert store.weights_path(run.id).is_file()
    store.weights_path(run.id).unlink()
    keep_weights(store, run, Odd(2, 2), images)
    assert "the weights are not kept, the run continues" in capsys.readouterr().out
    (tmp_path / "weights").rmdir()
    (tmp_path / "weights").write_text("a file in the way")
    keep_weights(store, run, Tied(), images)
    assert "the weights are not kept, the run continues" in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_keeps_them_only_on_request(tmp_path: Path) -> None:
    line = ["run", "-k", "cnn4/sgd/none/native", "--source", "shapes", "--epochs", "1"]
    for name, more in (("without", []), ("with", ["--keep-weights"])):
        ran = CliRunner().invoke(app.app, [*line, "--out", str(tmp_path / name), *more])
        assert ran.exit_code == 0, ran.output
    assert not [*tmp_path.glob("without/*/weights/*")]
    assert len([*tmp_path.glob("with/*/weights/*.safetensors")]) == 1
