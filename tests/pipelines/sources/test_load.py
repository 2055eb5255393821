"""`load`, `resolve` and `is_cached`: names, places, and what the tensors promise."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import pipelines
from pipelines import sources
from pipelines.catalog import UnknownName
from pipelines.sources import shapes
from tests import checkout
from tests.made_sources import made_arrays


@pytest.fixture
def small_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = made_arrays().sets
    made = tuple(a for part in sets.values() for a in (part.images, part.labels))
    monkeypatch.setattr(shapes, "generate", lambda: made)


@pytest.mark.parametrize("call", [sources.load, sources.resolve, sources.is_cached])
def test_an_unknown_name_gets_the_nearest(call: object, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"'cifar11'.*did you mean cifar10.*folder:PATH"):
        call("cifar11", tmp_path)


@pytest.mark.parametrize("name", ["folder", "Folder:/x", "", "shape", "cifar-10"])
def test_names_are_taken_literally(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownName):
        sources.load(name, tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "shapes", "folder:/not/there"])
def test_a_known_name_is_resolved_without_reading_the_disk(name: str, tmp_path: Path) -> None:
    assert sources.resolve(name, tmp_path) == (name, "")
    assert not sources.is_cached(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_default_data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIPELINE_BENCH_DATA", "~/images")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/somebody")
    assert sources.default_data_dir() == Path("/home/somebody/images")
    monkeypatch.delenv("PIPELINE_BENCH_DATA")
    assert sources.default_data_dir() == tmp_path / "pipeline-bench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert sources.default_data_dir() == Path("/home/somebody/.cache/pipeline-bench")


@pytest.mark.usefixtures("small_shapes")
def test_shapes_are_drawn_once_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    data = sources.load("shapes", tmp_path, report=messages.append)
    assert len(messages) == 1
    assert data.train.classes == shapes.CLASSES
    again = pipelines.load("shapes", str(tmp_path), report=messages.append)
    assert len(messages) == 1
    assert again.fingerprint == data.fingerprint
    monkeypatch.setattr(shapes, "VERSION", shapes.VERSION + 1)
    sources.load("shapes", tmp_path, report=messages.append)
    assert len(messages) == 2


@pytest.mark.usefixtures("small_shapes")
def test_tensors_are_what_was_made(tmp_path: Path) -> None:
    made = made_arrays()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = sources.load("shapes", tmp_path)
    for part, expected in ((data.train, made.sets["train"]), (data.test, made.sets["test"])):
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        np.testing.assert_array_equal(part.images.numpy(), expected.images)
        np.testing.assert_array_equal(part.labels.numpy(), expected.labels)
    assert (data.test.mean, data.test.std) == (data.train.mean, data.train.std)


def test_resolving_a_source_imports_no_torch() -> None:
    code = (
        "import sys; from pipelines import sources; sources.is_cached('cifar10', '/not/there'); "
        "sources.resolve('shapes'); sys.exit('torch' in sys.modules)"
    )
    assert checkout.python(code).returncode == 0
