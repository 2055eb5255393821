"""Sources of images: `cifar10`, `cifar100`, `shapes` (generated) and `folder:PATH`.

`folder:PATH[size=224,decode]` resizes images to 224 pixels instead of 32, and lets pipelines decode
the files in each epoch if they can.

A source is downloaded or read once, checked, and cached as arrays that later calls map into memory.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.catalog import UnknownName, unknown_name
from pipelines.sources import cache, cifar, tree_name
from pipelines.sources.arrays import SETS, Arrays, Labelled, Set
from pipelines.sources.errors import NotObtained, Report, SourceError
from pipelines.sources.places import default_data_dir, expanded

if TYPE_CHECKING:
    from pipelines.sources.base import Data

__all__ = ["SourceError", "default_data_dir", "is_cached", "load", "resolve"]

NAMES = ["cifar10", "cifar100", "shapes", "folder:PATH"]
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """How to make a source.

    Args:
        folder: The source's folder in the cache.
        key: Identifies the result; a cache with another key is stale.
        make: Makes the source, given an empty folder to work in.
        files: Image files of each set, for pipelines to decode.
    """

    folder: str
    key: str
    make: Callable[[Path, Report], Arrays]
    files: Mapping[Set, tuple[Path, ...]] = field(default_factory=dict)


def load(name: str, data_dir: str | Path | None = None, *, report: Report | None = None) -> "Data":
    """The images of a source, downloaded or read first if necessary.

    Args:
        name: "cifar10", "cifar100", "shapes", "folder:PATH" or "folder:PATH[size=224,decode]".
        data_dir: Where sources are cached; may contain torchvision's CIFAR files. If it isn't
            writable, the cache is in the default folder.
        report: Called with lines about progress.

    Raises:
        UnknownName: No such source.
        SourceError: It isn't available; the message says why and what to do about it.
    """
    import torch

    from pipelines.sources.base import Data, Images

    log = report or (lambda text: None)
    folder = _data_dir(data_dir)
    recipe = _recipe(name, folder)
    found = cache.obtain(
        _place(folder, recipe),
        recipe.key,
        lambda scratch: recipe.make(scratch, log),
        log,
    )
    train, test = (
        Images(
            images=torch.from_numpy(found.sets[which].images),
            labels=torch.from_numpy(found.sets[which].labels),
            classes=found.classes,
            mean=found.mean,
            std=found.std,
            fingerprint=found.fingerprints[which],
            files=recipe.files.get(which, ()),
        )
        for which in SETS
    )
    return Data(name=name, train=train, test=test)


def resolve(
    name: str, data_dir: str | Path | None = None, *, report: Report | None = None
) -> tuple[str, str]:
    """The source to use, and why "auto" didn't choose CIFAR-10 ("" if it did).

    Raises:
        UnknownName: No such source.
        SourceError: The size of a folder source is invalid.
    """
    if name != AUTO:
        _check(name)
        return tree_name.with_options(name), ""
    try:
        load("cifar10", data_dir, report=report)
    except NotObtained as error:
        return "shapes", error.reason
    except SourceError as error:
        return "shapes", str(error)
    return "cifar10", ""


def is_cached(name: str, data_dir: str | Path | None = None) -> bool:
    """Whether the source is in the cache, without reading images.

    Raises:
        UnknownName: No such source.
    """
    folder = _data_dir(data_dir)
    try:
        recipe = _recipe(name, folder)
    except SourceError:
        return False
    return cache.present(_place(folder, recipe), recipe.key)


def _data_dir(data_dir: str | Path | None) -> Path:
    return (expanded(data_dir) if data_dir else default_data_dir()).absolute()


def _place(data_dir: Path, recipe: _Recipe) -> Path:
    """The source's cache folder: in `data_dir` if it is there already or can be written."""
    own = data_dir / "cache" / recipe.folder
    nearest = next(path for path in (own, *own.parents) if path.exists())
    effective = os.access in os.supports_effective_ids
    read_only = data_dir.is_dir() and not os.access(nearest, os.W_OK, effective_ids=effective)
    if read_only and not cache.present(own, recipe.key):
        return default_data_dir().absolute() / "cache" / recipe.folder
    return own


def _check(name: str) -> None:
    if name.startswith(tree_name.PREFIX):
        tree_name.parse(name)
    elif name not in NAMES[:-1]:
        raise UnknownName(unknown_name("source", name, [AUTO, *NAMES]))


def _recipe(name: str, data_dir: Path) -> _Recipe:
    _check(name)
    if name.startswith(tree_name.PREFIX):
        return _tree(tree_name.parse(name))
    if name == "shapes":
        return _shapes()
    spec = cifar.CIFAR10 if name == "cifar10" else cifar.CIFAR100
    return _Recipe(
        folder=name,
        key=name,
        make=lambda scratch, report: cifar.obtain(spec, data_dir, scratch, report),
    )


def _tree(name: tree_name.TreeName) -> _Recipe:
    from pipelines.sources.decode import decode_tree
    from pipelines.sources.folder import scan

    tree = scan(name.root)
    size = name.image_size
    place = hashlib.sha256(os.fsencode(name.root.resolve())).hexdigest()[:16]
    files = {which: tuple(tree.root / item.path for item in tree.items[which]) for which in SETS}
    return _Recipe(
        folder=f"folder-{place}-{size}",
        key=f"{tree.key}-{size}",
        make=lambda scratch, report: decode_tree(tree, size, scratch, report),
        files=files if name.decode else {},
    )


def _shapes() -> _Recipe:
    from pipelines.sources import shapes

    def make(scratch: Path, report: Report) -> Arrays:
        report("drawing the source shapes")
        train, train_labels, test, test_labels = shapes.generate()
        return Arrays(
            sets={
                "train": Labelled(images=train, labels=train_labels),
                "test": Labelled(images=test, labels=test_labels),
            },
            classes=shapes.CLASSES,
        )

    return _Recipe(folder="shapes", key=f"shapes-{shapes.VERSION}", make=make)
