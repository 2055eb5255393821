"""The options of `bench run`; imports little, so that the command line starts fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of `bench run`; None means: choose by machine and scale."""

    grid: str = "default"
    select: str = ""
    seeds: int = 1
    seed: int | None = None  # only this one
    architecture: str | None = None
    optimizer: str | None = None
    augmentation: str | None = None
    pipeline: str | None = None
    overrides: Sequence[str] = ()
    recipes: Path | None = None
    source: str = "auto"
    data_dir: Path | None = None
    device: str = "auto"
    scale: str | None = None
    epochs: int | None = None
    target: float | None = None
    precision: str = "auto"
    compile: bool | None = None
    compile_mode: str | None = None
    out: Path = Path("results")
    retry_failed: bool = False
    retry_suspect: bool = False
    exclusive_timing: bool = False
    plugins: Sequence[str] = ()
    shard: str | None = None
