"""A file that breaks while pipelines read it ends the epoch within seconds, by its name."""

import builtins
import gc
import io
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import Pipeline
from pipelines.ops import HorizontalFlip
from pipelines.sources.base import Images, SourceError
from tests.pipelines.photographs import Kind, decoding_variants, images_of, write

VARIANTS = [*decoding_variants(), "torchvision[workers=2]"]
FILES, BATCH = 48, 2  # the last batch is not read ahead at the first
WITHIN_S = 20.0


def spoil(path: Path) -> None:
    """Overwrites all but the ends of a file, which keeps its size and time."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(20)
        file.write(bytes(before.st_size - 40))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_folder(path: Path) -> None:
    """What root may not read either."""
    path.unlink()
    path.mkdir()


def replace_by_pipe(path: Path) -> None:
    """What waits for a writer when it is opened."""
    path.unlink()
    os.mkfifo(path)


FAULTS: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "spoiled": spoil,
    "text": lambda path: path.write_text("no image at all"),
    "gone": Path.unlink,
    "folder": replace_by_folder,
    "pipe": replace_by_pipe,
}
QUICK = ("cut", "spoiled", "pipe")


@pytest.fixture
def images(tmp_path: Path) -> Images:
    kind = Kind(size=(96, 64))
    return images_of([write(tmp_path / f"{n:02d}.jpg", "coffee", kind) for n in range(FILES)], 32)


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fails if threads or processes are left behind."""
    threads, children = set(threading.enumerate()), psutil.Process().children()
    yield
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        gc.collect()  # DALI's threads end with what they serve
        left = [each for each in threading.enumerate() if each not in threads and each.is_alive()]
        left_processes = [each for each in psutil.Process().children() if each not in children]
        if not left and not left_processes:
            return
        time.sleep(0.05)
    pytest.fail(f"left behind: {left} {left_processes}")


def build(variant: str, images: Images) -> Pipeline:
    policy = Augmentation(ops=(HorizontalFlip(),))
    return building.build(variant, images, policy, batch_size=BATCH)


def last_file(pipeline: Pipeline, images: Images, epoch: int = 0) -> Path:
    """A file of the epoch's last batch."""
    return images.files[int(pipeline.permutation(epoch)[-1, 0])]


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    "fault",
    [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in FAULTS],
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_file_that_breaks_in_an_epoch_is_named(variant: str, fault: str, images: Images) -> None:
    with build(variant, images) as pipeline:
        batches = pipeline.epoch(0)
        next(batches)
        broken = last_file(pipeline, images)
        FAULTS[fault](broken)
        started = time.monotonic()
        with pytest.raises(SourceError, match=rf"^{broken.name} in .* cannot be read: .*; repair"):
            list(batches)
        if not variant.startswith("dali"):  # which is closed then
            assert len(next(pipeline.epoch(0))[0]) == BATCH
    assert time.monotonic() - started < WITHIN_S


@pytest.mark.parametrize("variant", [each for each in VARIANTS if each.startswith("dali")])
@pytest.mark.parametrize("taken", [1, FILES // BATCH - 1], ids=["before dali reads it", "after"])
def test_dali_refuses_a_file_that_has_changed(variant: str, taken: int, images: Images) -> None:
    """It may be one whose data crash DALI, and neither DALI nor Pillow may say so."""
    with build(variant, images) as pipeline:
        batches, broken = pipeline.epoch(0), last_file(pipeline, images)
        for _ in range(taken):
            next(batches)
        os.utime(broken, (0, 0))
        with pytest.raises(SourceError, match=rf"^{broken} has changed since dali first read it"):
            list(batches)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_slow_disk_only_takes_longer(
    variant: str, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where epochs are interrupted; DALI opens files by itself."""

    def slow(*given: Any, **named: Any) -> Any:
        time.sleep(0.01)
        return opened(*given, **named)

    opened = builtins.open
    monkeypatch.setattr(builtins, "open", slow)
    monkeypatch.setattr(io, "open", slow)
    with build(variant, images) as pipeline:
        for taken in (0, 1, 5):
            batches = pipeline.epoch(taken)
            for _ in range(taken):
                next(batches)
            batches.close()
        labels = torch.cat([labels_B for _, labels_B in pipeline.epoch(9)])
        assert torch.equal(labels, images.labels[pipeline.permutation(9).flatten()])
        next(pipeline.epoch(10))  # left as it is


@pytest.mark.parametrize("variant", VARIANTS)
def test_too_many_open_files_are_an_error(variant: str, images: Images) -> None:
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with build(variant, images) as pipeline:
        batches = pipeline.epoch(0)
        next(batches)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
        try:
            with pytest.raises(RuntimeError, match="Too many open files"):
                list(batches)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


def break_often(variant: str, folder: Path) -> None:
    """Breaks a file of a large batch again and again, as DALI's decoder crashes by chance."""
    files = [write(folder / f"{n:02d}.jpg", "coffee", Kind(size=(96, 64))) for n in range(FILES)]
    images, whole = images_of(files, 32), files[0].read_bytes()
    for fault in [*FAULTS.values(), spoil, spoil]:
        with building.build(variant, images, Augmentation(ops=()), batch_size=FILES) as pipeline:
            fault(files[FILES // 2])
            with pytest.raises(SourceError, match=files[FILES // 2].name):
                list(pipeline.epoch(0))
        if files[FILES // 2].is_dir():
            files[FILES // 2].rmdir()
        files[FILES // 2].unlink(missing_ok=True)  # the pipe would wait for a reader
        files[FILES // 2].write_bytes(whole)


@pytest.mark.slow
@pytest.mark.parametrize("variant", [each for each in VARIANTS if each.startswith("dali")])
def test_dali_survives_broken_files(variant: str, tmp_path: Path) -> None:
    call = f"from {__name__} import *; break_often({variant!r}, Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
