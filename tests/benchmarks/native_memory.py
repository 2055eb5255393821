"""Peak memory of the native pipeline over an epoch, in batches beyond the source.

    python -m tests.benchmarks.native_memory [BATCH_SIZE]

CIFAR-10's training images, flip_crop_cutout, 512 images a batch by default. After a first epoch
(compilers take memory), the peak is reset and a new pipeline is read for an epoch, eight times. A
`for` loop holds one batch until it has the next, so it sees at least two; a second loop drops each
batch before it asks for the next, which leaves the pipeline's own memory. Linux only.
"""

import ctypes
import gc
import os
import sys
from pathlib import Path
from statistics import median

import pipelines
from pipelines.sources.base import Images
from tests.benchmarks.common import conditions, print_figures

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

STATUS = Path("/proc/self/status")
EPOCHS = 8


def kib(name: str) -> int:
    """A figure of this process: "VmHWM" (peak), "RssAnon", "RssFile"."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1])


def settle() -> None:
    """Gives freed memory back and forgets the peak."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def read(images: Images, batch_size: int, *, lets_go: bool = False) -> int:
    """Reads one epoch; the bytes of a batch's images."""
    batch_bytes = 0
    with pipelines.build("native", images, "flip_crop_cutout", batch_size=batch_size) as pipeline:
        for x_BCHW, _ in pipeline.epoch(0):
            batch_bytes = x_BCHW.nbytes
            if lets_go:
                del x_BCHW, _
    return batch_bytes


def peak_bytes(images: Images, batch_size: int, *, lets_go: bool) -> int:
    """Peak resident memory of one epoch above what there was before it."""
    settle()
    before = kib("RssAnon") + kib("RssFile")
    read(images, batch_size, lets_go=lets_go)
    return (kib("VmHWM") - before) * 1024


def peaks(images: Images, batch_size: int, batch_bytes: int, *, lets_go: bool) -> dict[str, object]:
    """The peaks of some epochs, in bytes and in batches."""
    above = [peak_bytes(images, batch_size, lets_go=lets_go) for _ in range(EPOCHS)]
    return {
        "peak_bytes_above_source": above,
        "median_in_batches": round(median(above) / batch_bytes, 2),
        "highest_in_batches": round(max(above) / batch_bytes, 2),
    }


def main(batch_size: int = 512) -> None:
    before = conditions()
    images = pipelines.load("cifar10").train
    batch_bytes = read(images, batch_size)
    figures = {
        "batch_size": batch_size,
        "source_bytes": images.images.nbytes,
        "batch_bytes": batch_bytes,
        "loop_holds_the_last": peaks(images, batch_size, batch_bytes, lets_go=False),
        "loop_lets_go": peaks(images, batch_size, batch_bytes, lets_go=True),
    }
    print_figures(before, figures)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
