"""Records of `bench loaders` for tests."""

from dataclasses import replace
from typing import Any

from bench.record import Memory
from bench.store.loaders_record import LoadersRecord, Repeat, Series
from tests.made import ENVIRONMENT


def made_series(pipeline: str, *images_per_s: float, **changes: Any) -> Series:
    """A series with a repeat for each rate."""
    size = changes.get("batch_size", 512)
    fields: dict[str, Any] = {
        "pipeline": pipeline,
        "batch_size": size,
        "compiled": False,
        "draws": {"Crop": "per sample"},
        "build_s": 0.25,
        "first_batch_s": 8.0,
        "bytes_per_image": 15360,
        "memory": Memory(host_gib=0.5),
        "repeats": tuple(
            Repeat(images=4 * size, batch_s=size / rate, images_per_s=rate) for rate in images_per_s
        ),
    }
    return Series(**fields | changes)


def decoding(series: Series, *cpu_s_per_1000: float, cold: str = "") -> Series:
    """Makes the series that of a pipeline that decodes files; `cold`: state of the page cache."""
    own = [
        replace(repeat, cpu_s_per_1000=cpu_s, page_cache="warm")
        for repeat, cpu_s in zip(series.repeats, cpu_s_per_1000, strict=True)
    ]
    first = replace(own[0], images_per_s=5.0, page_cache=cold) if cold else None
    return replace(series, reads="files", repeats=tuple(own), cold=first, processes_gib=1.5)


BUSY = "other processes used 60 % of the CPU, which had no core to spare"


def disturbed(series: Series, number: int = 99) -> Series:
    first = (replace(repeat, timing_suspect=(BUSY,)) for repeat in series.repeats[:number])
    return replace(series, repeats=(*first, *series.repeats[number:]))


def lost_series(pipeline: str, status: str, reason: str, **changes: Any) -> Series:
    changes = {"draws": {}, "build_s": None, "first_batch_s": None, "bytes_per_image": None,
               "memory": Memory(), "status": status, "reason": reason} | changes  # fmt: skip
    return made_series(pipeline, **changes)


def made_loaders(*series: Series) -> LoadersRecord:
    return LoadersRecord(
        source="cifar10",
        fingerprint="f00d",
        images=50000,
        image_size=(32, 32),
        augmentation="flip_crop_cutout",
        device="cpu",
        scale="cpu",
        precision="fp32",
        repeat_s=1.0,
        command="bench loaders",
        started="2026-01-01T00:00:00+00:00",
        environment=ENVIRONMENT,
        bandwidth_gb_per_s=15.36,
        series=series,
    )


MIXED = made_loaders(
    lost_series("zoo", "crashed", "it broke | badly"),
    made_series("slow", 100, 110, 120),
    lost_series("dali", "skipped", "dali is not installed"),
    made_series("quick", 1000, 1100, 1200),
    made_series("quicker", 1100, 1200, 1300),
    made_series("slow", 10, 11, 12, batch_size=128),
)
