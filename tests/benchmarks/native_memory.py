"""Peak memory of the native pipeline over an epoch: the source, and how many batches beside it?

    python tests/benchmarks/native_memory.py [BATCH_SIZE]

All of CIFAR-10's training images, flip_crop_cutout, 512 images a batch unless said; prints JSON.
The pipeline is built and gives a first batch before (compilers take memory of their own), then the
peak resident memory is set back and an epoch is read, each batch dropped as the next is taken. The
source is mapped from a file; its pages count too. Linux only.

What glibc keeps of memory that was freed depends on where things happen to lie: the same loop peaks
at two to four batches. `MALLOC_MMAP_THRESHOLD_=1048576` before the command makes it give each batch
back, so that the peak is of what is in use; without it the peak is of what the process holds. Both
count above one batch that the first loop still holds.
"""

import ctypes
import gc
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pipelines  # noqa: E402

STATUS = Path("/proc/self/status")


def kib(name: str) -> int:
    """A figure of this process: "VmHWM" (peak), "RssAnon", "RssFile"."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1])


def settle() -> None:
    """Gives freed memory back and forgets the peak."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def main(batch_size: int = 512) -> None:
    """Reads two epochs and prints the peaks."""
    images = pipelines.load("cifar10").train
    with pipelines.build("native", images, "flip_crop_cutout", batch_size=batch_size) as pipeline:
        batches = pipeline.epoch(0)
        batch_bytes = next(batches)[0].nbytes
        for _ in batches:  # also touches the whole source
            pass
        settle()
        before, mapped = kib("RssAnon"), kib("RssFile")
        for _ in pipeline.epoch(1):
            pass
        above = (kib("VmHWM") - before - mapped) * 1024
    print(
        json.dumps(
            {
                "batch_size": batch_size,
                "source_bytes": images.images.nbytes,
                "batch_bytes": batch_bytes,
                "peak_bytes_above_source": above,
                "peak_in_batches_above_source": round(above / batch_bytes, 2),
            }
        )
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
