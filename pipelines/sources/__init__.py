"""Where images come from: `load` gives a source's two sets from its cache, filled on first use."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.catalog import UnknownName, unknown_name
from pipelines.sources.base import Data, SourceError

if TYPE_CHECKING:
    from pipelines.sources.cache import Raw

__all__ = ["default_data_dir", "is_cached", "load", "resolve"]

NAMES = ("cifar10", "cifar100", "shapes")
FOLDER = "folder:"
AUTO = "auto"

Report = Callable[[str], None]


def load(name: str, data_dir: str | Path | None = None, *, report: Report | None = None) -> Data:
    """Both sets of a source: "cifar10", "cifar100", "shapes" or "folder:PATH".

    Args:
        name: The source.
        data_dir: Where sources are cached; it may hold torchvision's CIFAR files.
        report: Gets lines about work that takes a while.

    Raises:
        UnknownName: No source has that name.
        SourceError: It cannot be had; the message says why and what to do.
    """
    from pipelines.sources import cache

    check_name(name)
    folder = _data_dir(data_dir)
    say = report or _silent
    place = folder / "cache" / cache_key(name)
    cached = cache.read(place)
    if cached is not None:
        return cached
    if place.exists():
        say(f"{name}: the cache in {place} is damaged and made anew")
    return cache.write(place, name, _obtain(name, folder, say))


def resolve(
    name: str, data_dir: str | Path | None = None, *, report: Report | None = None
) -> tuple[str, str]:
    """The source that `name` means, and for "auto" why it is not CIFAR-10 ("" if it is).

    Raises:
        UnknownName: No source has that name.
    """
    if name != AUTO:
        check_name(name)
        return name, ""
    try:
        load("cifar10", data_dir, report=report)
    except SourceError as error:
        return "shapes", str(error).split(" Ways out:")[0]
    return "cifar10", ""


def is_cached(name: str, data_dir: str | Path | None = None) -> bool:
    """Whether a source can be read without fetching or decoding anything."""
    from pipelines.sources import cache

    check_name(name)
    return cache.read(_data_dir(data_dir) / "cache" / cache_key(name)) is not None


def default_data_dir() -> Path:
    """$PIPELINE_BENCH_DATA, or "pipeline-bench" in the user's cache folder."""
    own = os.environ.get("PIPELINE_BENCH_DATA")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "pipeline-bench"


def check_name(name: str) -> None:
    """Refuses what is no source.

    Raises:
        UnknownName: No source has that name; suggests the nearest.
    """
    if name not in NAMES and not name.startswith(FOLDER):
        raise UnknownName(unknown_name("source", name, [*NAMES, f"{FOLDER}PATH"]))


def cache_key(name: str) -> str:
    """The cache folder's name: changes when what it holds would.

    Raises:
        SourceError: A folder source is not a tree of images.
    """
    if name == "shapes":
        from pipelines.sources import shapes

        return f"shapes-v{shapes.VERSION}"
    if name.startswith(FOLDER):
        from pipelines.sources import folder

        return f"folder-{folder.scan(_path(name)).key}-{folder.SIZE}"
    return name


def _obtain(name: str, data_dir: Path, report: Report) -> "Raw":
    if name == "shapes":
        return _shapes(report)
    if name.startswith(FOLDER):
        from pipelines.sources import folder

        return folder.read(folder.scan(_path(name)), report)
    from pipelines.sources import cifar

    which = {"cifar10": cifar.CIFAR10, "cifar100": cifar.CIFAR100}[name]
    return cifar.obtain(which, data_dir, report)


def _shapes(report: Report) -> "Raw":
    from pipelines.sources import shapes
    from pipelines.sources.cache import Raw

    report("shapes: drawing 60,000 images")
    train_images, train_labels, test_images, test_labels = shapes.generate()
    return Raw(
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=shapes.CLASSES,
    )


def _path(name: str) -> Path:
    return Path(name.removeprefix(FOLDER)).expanduser()


def _data_dir(data_dir: str | Path | None) -> Path:
    return default_data_dir() if data_dir is None else Path(data_dir).expanduser()


def _silent(text: str) -> None:
    pass
