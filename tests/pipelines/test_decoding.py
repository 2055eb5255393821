"""The decoder gives the reference's pixels, bounds its memory, and survives broken files."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from pipelines import building, decoding
from pipelines.augmentations import Augmentation
from pipelines.base import Request, Unsupported
from pipelines.catalog import Unavailable
from pipelines.compiling import compiler_problem
from pipelines.decoding import AHEAD, Decoder, NvjpegDecoder, is_common_jpeg, read
from pipelines.ops import (
    ColorJitter,
    HorizontalFlip,
    Op,
    RandomErasing,
    RandomResizedCrop,
    VerticalFlip,
)
from pipelines.options import usable_cores
from pipelines.sources.base import Images, SourceError
from pipelines.sources.decode import read_image
from pipelines.sources.measures import Bytes
from pipelines.verification.made_images import pixels
from tests.pipelines.photographs import KINDS, Kind, images_of, write

SIZE, BATCH, COUNT = 48, 4, 40
NAMES = ("coffee", "astronaut")
OTHER = {"CMYK", "YCCK"}
XMP = (
    b'\xff\xe1\x00\x86http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<a tiff:Orientation="6" /></x:xmpmeta>'
)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_read_as_by_the_reference(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    path = write(tmp_path / "image", "coffee", kind)
    assert is_common_jpeg(bytearray(path.read_bytes())) == (
        kind.form == "JPEG" and kind.mode not in OTHER
    )
    for size in (20, 224):
        error = np.abs(read(path, size).astype(int) - read_image(path, size))
        # Torch's weights have 16 bits, so that both passes of a resize may round differently.
        assert error.max() <= 2
        assert (error > 1).mean() < 1e-4


def test_an_orientation_that_only_pillow_finds_is_left_to_it(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.jpg", "coffee", KINDS["JPEG 4:2:0"])
    data = plain.read_bytes()
    segment = XMP[:2] + (len(XMP) - 2).to_bytes(2) + XMP[4:]
    turned = tmp_path / "turned.jpg"
    turned.write_bytes(data[:2] + segment + data[2:])
    assert np.array_equal(read(turned, SIZE), read_image(turned, SIZE))
    assert np.abs(read(turned, SIZE) - np.rot90(read_image(plain, SIZE), -1).astype(int)).max() <= 1


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder, kind, names = tmp_path_factory.mktemp("files"), Kind(size=(70, 53)), cycle(NAMES)
    return images_of(
        [write(folder / f"{number}.jpg", next(names), kind) for number in range(COUNT)], SIZE
    )


def request_of(images: Images, **options: int) -> Request:
    return Request(
        images=images,
        augmentation=Augmentation(ops=()),
        batch_size=BATCH,
        device=torch.device("cpu"),
        options=options,
    )


def decoder(images: Images, **options: int) -> Decoder:
    return Decoder(request_of(images, **options))


ORDER = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0)).view(-1, BATCH)


def decoders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("decoder")]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not decoders()


def test_batches_that_are_held_keep_their_pixels_and_others_share_memory(images: Images) -> None:
    reader = decoder(images)
    held = list(reader.batches(ORDER))
    for batch_BHWC, index_B in zip(held, ORDER, strict=True):
        difference = batch_BHWC.int() - images.images[index_B].int()
        assert difference.abs().max() <= 1
    held.clear()
    places = {batch_BHWC.data_ptr() for batch_BHWC in reader.batches(ORDER)}
    reader.close()
    assert len(places) <= AHEAD + 3 < len(ORDER)


@pytest.mark.parametrize("options", [{}, {"threads": 3, "read_ahead": 1}])
def test_no_more_than_asked_is_read_ahead(
    options: dict[str, int], images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def counting(path: Path, size: int) -> Bytes:
        done.append(threading.current_thread().name)
        time.sleep(0.002)
        return np.zeros((size, size, 3), np.uint8)

    monkeypatch.setattr(decoding, "read", counting)
    reader = decoder(images, **options)
    batches = reader.batches(ORDER)
    next(batches)
    time.sleep(0.3)
    assert len(done) == BATCH * (1 + options.get("read_ahead", AHEAD))
    assert len(set(done)) == options.get("threads", usable_cores())
    batches.close()
    reader.close()


@pytest.mark.parametrize(
    ("options", "files", "reason"),
    [
        ("threads=5000", True, "threads=5000 is too many: take at most 256 threads"),
        ("nvjpeg=2", True, "nvjpeg is 0 or 1, not 2"),
        ("read_ahead=1", False, "read_ahead=1 is about decoding image files: add --decode"),
        ("read_ahead=2", True, "read_ahead=2 takes 0.0 GiB of memory, and 0.0 GiB are free"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: str, files: bool, reason: str, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100_000))
    source = images if files else replace(images, files=())
    with pytest.raises(Unsupported, match=reason):
        building.build(f"native[eager,{options}]", source, "none", batch_size=BATCH)


LINES: dict[str, tuple[Op, ...]] = {
    "crop": (RandomResizedCrop(),),
    "moves": (RandomResizedCrop(), HorizontalFlip(), RandomErasing(), VerticalFlip()),
    "others": (HorizontalFlip(), RandomResizedCrop(), ColorJitter()),
}


@pytest.mark.slow
@pytest.mark.skipif(bool(compiler_problem(gpu=False)), reason="no compiler")
@pytest.mark.parametrize("name", LINES)
def test_compiled_kernels_do_to_files_what_eager_ones_do_to_the_array(
    name: str, images: Images
) -> None:
    policy = Augmentation(ops=LINES[name])
    sources = {"native": images, "native[eager]": replace(images, files=())}
    found = []
    for variant, source in sources.items():
        with building.build(variant, source, policy, batch_size=BATCH) as pipeline:
            found.append(pixels(torch.cat([x for x, _ in pipeline.epoch(1)])))
    error = np.abs(found[0] - found[1])
    assert error.mean() < 0.1  # of 255
    assert (error > 1.01).mean() < 1e-3  # a pixel at a threshold of ColorJitter may go further


def test_nvjpeg_needs_a_gpu(images: Images) -> None:
    with pytest.raises(Unavailable, match="nvjpeg=1 decodes on a GPU: leave it out, or add"):
        building.build("native[eager,nvjpeg=1]", images, "none", batch_size=BATCH)


def test_batches_for_nvjpeg_mix_its_images_with_those_of_the_threads(tmp_path: Path) -> None:
    # On a CPU torchvision decodes lists of files as nvJPEG does on a GPU.
    kinds = ["JPEG 4:2:0", "PNG", "JPEG, EXIF orientation 6", "JPEG, 47x33"]
    files = [write(tmp_path / f"{i}.jpg", "coffee", KINDS[kind]) for i, kind in enumerate(kinds)]
    images = images_of(files, SIZE)
    reader = NvjpegDecoder(request_of(images))
    loaded = [reader._load(index).ndim for index in range(len(files))]
    assert loaded == [1, 3, 3, 1]
    order = torch.tensor([[2, 0, 1, 3]] * 3)
    for batch_BHWC in reader.batches(order):
        assert (batch_BHWC.int() - images.images[order[0]].int()).abs().max() <= 1
    files[3].write_text("no image")
    with pytest.raises(SourceError, match=r"3\.jpg in .* cannot be read"):
        list(reader.batches(order))
    reader.batches(order).close()
    reader.close()


@pytest.mark.slow
def test_a_thousand_interruptions_leave_no_thread_and_no_deadlock(images: Images) -> None:
    rng = random.Random(0)
    reader = decoder(images, threads=4)
    for number in range(1000):
        batches = reader.batches(ORDER)
        for _ in range(rng.randrange(len(ORDER))):
            next(batches)
        time.sleep(rng.random() * 0.002)
        batches.close()
        if number % 10 == 0:
            reader.close()
            assert not decoders()
            reader = decoder(images, threads=4)
    assert len(list(reader.batches(ORDER))) == len(ORDER)
    reader.close()


LARGER_THAN_MEMORY = """
import resource, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, psutil, torch
from pipelines import building
from pipelines.sources.base import Images

file, folder, size, margin = Path(sys.argv[1]), sys.argv[2], 224, 256 << 20
count = 10 * margin // (size * size * 3)
blank = np.lib.format.open_memmap(folder + "/a.npy", "w+", np.uint8, (count, size, size, 3))
blank = np.load(folder + "/a.npy", mmap_mode="r")
images = Images(
    images=torch.from_numpy(blank), labels=torch.arange(count) % 2, classes=("a", "b"),
    mean=(0.5,) * 3, std=(0.2,) * 3, files=(file,) * count,
)
torch.set_num_threads(1)
data = psutil.Process().memory_info().data
resource.setrlimit(resource.RLIMIT_DATA, (data + margin, -1))
with building.build("native[eager]", images, "flip_crop", batch_size=16) as pipeline:
    for step, (x, y) in enumerate(pipeline.epoch(0)):
        assert x.isfinite().all()
        if step == 20:
            break
print("fits")
"""


@pytest.mark.slow
def test_a_folder_ten_times_as_large_as_memory_works(tmp_path: Path) -> None:
    path = write(tmp_path / "image.jpg", "coffee", KINDS["JPEG 4:2:0"])
    command = [sys.executable, "-c", LARGER_THAN_MEMORY, str(path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "fits\n", done.stderr
