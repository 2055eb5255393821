"""The worker of `bench loaders`: counts whole batches and reports failures."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from bench.loaders import page_cache, usage, worker
from bench.loaders.worker import Build, Built, Failed, LoaderBench, Measure, Measured, answer
from bench.machine import monitor, roofline
from pipelines.base import Unsupported
from pipelines.sources.base import Images
from tests.tape import capture


def made_order(**changes: Any) -> Build:
    fields: dict[str, Any] = {
        "pipeline": "native[eager]",
        "source": "made",
        "data_dir": "nowhere",
        "augmentation": "flip_crop",
        "batch_size": 8,
        "device": "cpu",
        "precision": "fp32",
    }
    return Build(**fields | changes)


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty images for any source."""
    import pipelines

    twenty = Images(
        images=torch.randint(0, 256, (20, 16, 16, 3), dtype=torch.uint8),
        labels=torch.arange(20) % 2,
        classes=("a", "b"),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    monkeypatch.setattr(pipelines, "load", lambda *_: SimpleNamespace(train=twenty), raising=False)


@pytest.mark.usefixtures("images")
def test_a_worker_counts_whole_batches_across_epochs() -> None:
    bench = LoaderBench()
    built = answer(bench, made_order())
    assert isinstance(built, Built), built
    assert built.bytes_per_image == 16 * 16 * 3 * (1 + 4)
    assert built.draws == {"Crop": "per sample", "HorizontalFlip": "per sample"}
    quick = answer(bench, Measure(seconds=1e-9))
    assert isinstance(quick, Measured), quick
    assert quick.repeat.images == 8 * worker.MIN_BATCHES
    longer = answer(bench, Measure(seconds=1.1))  # shares of the CPU need a second
    assert isinstance(longer, Measured)
    repeat = longer.repeat
    assert repeat.images % 8 == 0
    assert repeat.images / repeat.images_per_s >= 1.1
    assert repeat.images_per_s * repeat.batch_s == pytest.approx(8)
    assert longer.memory.host_gib is not None
    assert 0 <= longer.memory.host_gib < 1
    assert longer.memory.torch_gib is None
    assert longer.processes_gib is None or 0 <= longer.processes_gib < 1
    assert 0 < longer.repeat.cpu_s_per_1000 < 1000
    assert longer.repeat.page_cache == ""
    assert (longer.conditions.cpu_others_pct is None) is (sys.platform != "linux"), "known at once"
    assert longer.recompiled == 0


@pytest.mark.usefixtures("images")
def test_batches_that_did_not_come_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.native import NativePipeline

    epoch = NativePipeline.epoch
    first = iter([0])

    def broken(pipeline: NativePipeline, index: int) -> Any:
        x_BCHW, labels = next(epoch(pipeline, index))
        return iter([(x_BCHW[: 8 - next(first, 7)], labels)])  # the first batch is whole

    monkeypatch.setattr(NativePipeline, "epoch", broken)
    reply = answer(LoaderBench(), made_order())
    assert isinstance(reply, Failed)
    assert reply.status == "crashed"
    assert "the pipeline native[eager] breaks its promise: batch 1 of the warm-up" in reply.reason


@pytest.mark.usefixtures("images")
def test_batches_are_replayed_if_asked() -> None:
    bench = LoaderBench(capture=lambda device: capture)
    built = answer(bench, made_order(replay=True))
    assert isinstance(built, Built), built
    found = [x_BCHW.clone() for x_BCHW, _ in bench._source.epoch(3)]
    expected = [x_BCHW for x_BCHW, _ in bench._pipeline.epoch(3)]
    torch.testing.assert_close(found, expected)
    quick = answer(bench, Measure(seconds=1e-9))
    assert isinstance(quick, Measured), quick
    assert quick.repeat.images == 8 * worker.MIN_BATCHES


@pytest.mark.usefixtures("images")
def test_more_workers_than_batches_do_not_prolong_a_repeat() -> None:
    bench = LoaderBench()
    built = answer(bench, made_order(pipeline="torchvision[workers=3]", batch_size=20))
    assert isinstance(built, Built), built
    found = answer(bench, Measure(seconds=1e-9))
    bench._pipeline.close()
    assert isinstance(found, Measured), found
    assert found.repeat.images == 20 * worker.MIN_BATCHES


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Unsupported("kornia has no Mix"), "skipped", "kornia has no Mix"),
        (MemoryError(), "oom", "MemoryError: MemoryError"),
        (RuntimeError("boom\nand more"), "crashed", "RuntimeError: boom"),
    ],
)
def test_a_worker_reports_its_failure(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: str, reason: str
) -> None:
    import pipelines

    def build(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pipelines, "build", build, raising=False)
    reply = answer(LoaderBench(), made_order())
    assert reply == Failed(status=status, reason=reason)


def test_the_machine_is_described_with_its_bandwidth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "copy_bytes", lambda device: 2**20)
    described = worker.describe("cpu")
    assert described.environment["torch"]
    assert 0.01 < described.bandwidth_gb_per_s < 1e5


def test_bytes_per_image_of_files_are_file_sizes(tmp_path: Path) -> None:
    paths = tmp_path / "a", tmp_path / "b"
    for path, size in zip(paths, (100, 300), strict=True):
        path.write_bytes(bytes(size))
    pixels = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    labels = torch.zeros(2, dtype=torch.int64)
    images = Images(
        images=pixels, labels=labels, classes=("a",), mean=(0,) * 3, std=(1,) * 3, files=paths
    )
    assert worker.source_bytes(images, paths) == 200
    assert worker.source_bytes(images, ()) == 48


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """JPEG files of two classes."""
    paths = [tmp_path / f"{number}.jpg" for number in range(20)]
    rng = np.random.default_rng(0)
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    return paths


def test_a_cold_repeat_is_an_epoch_at_most_of_files_that_left_the_page_cache(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipelines

    images = Images(
        images=torch.zeros(20, 16, 16, 3, dtype=torch.uint8), labels=torch.arange(20) % 2,
        classes=("a", "b"), mean=(0.5,) * 3, std=(0.25,) * 3, files=tuple(files),
    )  # fmt: skip
    monkeypatch.setattr(pipelines, "load", lambda *_: SimpleNamespace(train=images))
    bench = LoaderBench()
    built = answer(bench, made_order(pipeline="torchvision[workers=0]", batch_size=5))
    assert isinstance(built, Built), built
    page_cache.warm(files)
    warm = answer(bench, Measure(seconds=1e-9))
    cold = answer(bench, Measure(seconds=60, cold=True))
    assert isinstance(warm, Measured), warm
    assert isinstance(cold, Measured), cold
    assert warm.repeat.page_cache in ("warm", "unknown")
    assert cold.repeat.page_cache == page_cache_after_drop(files)
    assert cold.repeat.images == 20


def page_cache_after_drop(files: list[Path]) -> str:
    page_cache.drop(files)
    return page_cache.state(files)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops single files")
def test_pages_are_seen_to_come_and_to_go(files: list[Path], tmp_path: Path) -> None:
    assert page_cache.warm(files) == sum(path.stat().st_size for path in files)
    assert page_cache.state(files) == "warm"
    in_memory = any(
        part.fstype in ("tmpfs", "ramfs") and tmp_path.is_relative_to(part.mountpoint)
        for part in psutil.disk_partitions(all=True)
    )
    assert page_cache_after_drop(files) == ("warm" if in_memory else "cold")
    page_cache.warm(files[:10])
    assert page_cache.state(files) == ("warm" if in_memory else "partly")
    assert page_cache.state([]) == "unknown"


@pytest.mark.skipif(sys.platform != "linux", reason="others have no proportional sizes")
def test_cpu_time_and_memory_of_children_count_also_when_they_have_ended() -> None:
    monitor.reset_peaks(torch.device("cpu"))
    before_gib, before_s = usage.peak_gib(), usage.cpu_s()
    work = "import time, sys\nx = b'1' * 2**28\ndel x\n"
    work += "while time.process_time() < 0.6: pass\nprint(flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    assert 0.25 <= usage.peak_gib() - before_gib <= 0.35, "with what was freed"
    child.communicate()
    assert 0.6 <= usage.cpu_s() - before_s < 3
    assert abs(usage.peak_gib() - before_gib) < 0.05
