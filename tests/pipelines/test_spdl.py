"""What SPDL changes in a process, how far it reads ahead, and what it says without FFmpeg."""

import signal
import time
from pathlib import Path

import pytest

from pipelines import building, spdl
from pipelines.augmentations import Augmentation
from pipelines.base import Pipeline
from pipelines.catalog import Unavailable
from pipelines.sources.base import Images
from pipelines.verification.made_images import copies
from tests.pipelines.photographs import Kind, images_of, write

pytestmark = pytest.mark.skipif(spdl.problem("eager", "cpu") != "", reason="no spdl or FFmpeg")
FILES = 60


@pytest.fixture
def images(tmp_path: Path) -> Images:
    file = write(tmp_path / "one.jpg", "coffee", Kind(size=(64, 48)))
    return images_of([file] * FILES, 32)


def build(images: Images) -> Pipeline:
    policy = Augmentation(ops=())
    return building.build("spdl[eager,threads=1,read_ahead=1]", images, policy, batch_size=2)


def test_it_leaves_the_processs_signals_alone(images: Images) -> None:
    """Its own handler of SIGTERM aborts; a run that is told to stop could not end by itself."""
    stopped = []
    before = signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    try:
        with build(images) as pipeline:
            next(iter(pipeline.epoch(0)))
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped


def test_few_batches_are_read_ahead(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = spdl.Reader._read
    monkeypatch.setattr(
        spdl.Reader, "_read", lambda self, path: read.append(path) or original(self, path)
    )
    with build(images) as pipeline:
        batches = pipeline.epoch(0)
        next(batches)
        time.sleep(0.5)
        assert 2 < len(read) <= 2 * (1 + 1 + 8)
        batches.close()


def test_arrays_need_no_ffmpeg_and_files_name_what_is_missing(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> None:
        raise RuntimeError("Failed to import libspdl.")

    monkeypatch.setattr("spdl.io.lib._import_libspdl", absent)
    with build(copies(64)) as pipeline:
        assert len(list(pipeline.epoch(0))) == 32
    with pytest.raises(Unavailable, match="FFmpeg 4 to 9: apt-get install ffmpeg"):
        build(images)
    monkeypatch.setattr(spdl, "find_library", lambda name: None)
    assert spdl.problem("eager", "cpu") == spdl.NO_FFMPEG
