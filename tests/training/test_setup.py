"""The net of a plugin, whose code only workers run, is checked before it is trained."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import architectures
from architectures import Architecture, Unfit
from bench.job import Job, RecordBuilder
from bench.training import setup
from bench.training.setup import Shared, prepare
from pipelines.catalog import Origin
from pipelines.sources.base import Data
from pipelines.verification.made_images import numbered
from tests.made import made_run
from tests.made_device import made_data

DATA = made_data([i % 10 for i in range(1000)], size=8)


class Built(Exception):
    """The net would be built to be trained."""


def prepared(folder: Path, monkeypatch: pytest.MonkeyPatch, net: nn.Module, version: str) -> None:
    """Prepares a run of a net of a plugin, up to where the net is built."""

    def build_net(*_: object) -> None:
        raise Built

    entry = Architecture(
        name="mine", why="a test", reference="-", build=lambda spec: net, parameters=1
    )
    origin = Origin(name="mine.py", digest="0", place="/mine.py")
    run = made_run(architecture="mine", pipeline="native", augmentation="none")
    run = replace(run, versions=run.versions | {"architecture": version or 1})
    job = Job(run=run, folder=str(folder), data_dir=str(folder))
    monkeypatch.setattr("pipelines.load", lambda *_, **__: DATA, raising=False)
    monkeypatch.setattr(setup, "build_net", build_net)
    architectures.catalog.register([entry], origin)
    try:
        prepare(RecordBuilder(job=job), Shared(), torch.device("cpu"))
    finally:
        architectures.catalog.unregister(origin)


@pytest.mark.parametrize(
    ("outputs", "version", "said"),
    [
        (10, "1 of mine.py 0", None),
        (7, "1 of mine.py 0", r"mine gives \(100, 7\), wanted \(100, 10\)"),
        (7, "", None),  # the plan has checked the suite's own nets
    ],
)
def test_the_net_of_a_plugin_is_checked(
    outputs: int, version: str, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, outputs))
    with pytest.raises(Unfit if said else Built, match=said):
        prepared(tmp_path, monkeypatch, net, version)


@pytest.mark.parametrize(
    ("architecture", "files", "left_out"),
    [("cnn2", True, True), ("cnn2", False, False), ("airnet94", True, False)],
)
def test_pixels_of_files_that_are_decoded_are_not_read_into_memory(
    architecture: str, files: bool, left_out: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = numbered(100)
    names = tuple(Path(f"{i}.jpg") for i in range(100)) if files else ()
    data = Data(name="files", train=replace(images, files=names), test=images)
    monkeypatch.setattr("pipelines.load", lambda *_, **__: data, raising=False)
    run = made_run(
        architecture=architecture, pipeline="native[eager]", augmentation="none", batch_size=10
    )
    job = Job(run=run, folder=str(tmp_path), data_dir=str(tmp_path))
    parts = prepare(RecordBuilder(job=job), Shared(), torch.device("cpu"))
    parts.close()
    assert parts.training.images.is_meta == left_out
    assert parts.validation is not None
    assert len(next(iter(parts.validation.epoch(0)))[0]) == 10
