"""Sources: `cifar10`, `cifar100`, `shapes` (generated), `folder:PATH` (files), `npz:PATH` (arrays).

`folder:PATH[size=224,decode,skip-bad]` resizes images to 224 pixels instead of 32, lets pipelines
decode the files in each epoch if they can, and leaves out files that can't be read.

A source is downloaded or read once, checked, and cached as arrays that later calls map into memory.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.catalog import UnknownName, unknown_name
from pipelines.sources import cache, cifar, tree_name
from pipelines.sources.arrays import Arrays, Cached, Labelled, Set
from pipelines.sources.errors import NotObtained, Report, SourceError
from pipelines.sources.places import default_data_dir, expanded

if TYPE_CHECKING:
    from pipelines.sources.base import Data
    from pipelines.sources.folder import Tree

__all__ = ["SourceError", "default_data_dir", "identify", "is_cached", "load", "resolve"]

NAMES = ["cifar10", "cifar100", "shapes"]
IN_FILES = ["folder:PATH", "npz:PATH"]
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """How to make a source.

    Args:
        folder: The source's folder in the cache.
        key: Identifies the result; a cache with another key is stale.
        make: Makes the source, given an empty folder to work in.
        name: The name of a source in files.
        tree: The scan of a folder source.
    """

    folder: str
    key: str
    make: Callable[[Path, Report], Arrays]
    name: tree_name.TreeName | None = None
    tree: "Tree | None" = None


def load(name: str, data_dir: str | Path | None = None, *, report: Report | None = None) -> "Data":
    """The images of a source, downloaded or read first if necessary.

    Args:
        name: "cifar10", "cifar100", "shapes", "folder:PATH", "folder:PATH[size=224,decode]" or
            "npz:PATH".
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
    if found.bad:
        _check_bad(recipe, found)
    files = _files(recipe, found)
    sets = {
        which: Images(
            images=torch.from_numpy(part.images),
            labels=torch.from_numpy(part.labels),
            classes=found.classes,
            mean=found.mean,
            std=found.std,
            fingerprint=found.fingerprints[which],
            files=files.get(which, ()),
        )
        for which, part in found.sets.items()
    }
    validation = sets.get("validation")
    return Data(
        name=name if recipe.name is None else _canonical(recipe.name, found),
        train=sets["train"],
        test=sets["test" if "test" in sets else "validation"],
        validation=validation,
        bad=found.bad,
        skipped=recipe.tree.skipped if recipe.tree else (),
    )


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


def _check_bad(recipe: _Recipe, found: Cached) -> None:
    """Raises unless the bad files are to be left out, and leave images of every class."""
    from pipelines.sources.folder import bad_files

    assert recipe.name is not None
    error = bad_files(recipe.name.root, found.bad)
    if not recipe.name.skip_bad:
        raise error
    counts = np.bincount(found.sets["train"].labels, minlength=len(found.classes))
    if lost := [name for name, number in zip(found.classes, counts, strict=True) if not number]:
        raise SourceError(
            f"without the files that cannot be read, the class {lost[0]!r} has no training image: "
            f"{error}"
        )


def _files(recipe: _Recipe, found: Cached) -> dict[Set, tuple[Path, ...]]:
    """The image files of each set, if pipelines are to decode them."""
    from pipelines.sources.folder import as_text

    if recipe.tree is None or recipe.name is None or not recipe.name.decode:
        return {}
    bad = {file.path for file in found.bad}
    return {
        which: tuple(recipe.tree.root / one.path for one in items if as_text(one.path) not in bad)
        for which, items in recipe.tree.items.items()
    }


def _canonical(name: tree_name.TreeName, found: Cached) -> str:
    test = "20%" if found.split else "" if "test" in found.sets else "val"
    return replace(name, skip_bad=bool(found.bad), bad=len(found.bad), test=test).name


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
    return cache.present(_place(folder, recipe), recipe.key) is not None


def identify(name: str, data_dir: str | Path | None = None) -> tuple[str, str] | None:
    """Name and fingerprint of a source as `load` gives them, without reading images.

    None unless it is one of `NAMES`, or "auto", and in the cache.
    """
    name = "cifar10" if name == AUTO else name
    if name not in NAMES:
        return None
    folder = _data_dir(data_dir)
    recipe = _recipe(name, folder)
    found = cache.present(_place(folder, recipe), recipe.key)
    if found is None:
        return None
    return name, "-".join(found.fingerprints[which][:16] for which in ("train", "test"))


def _data_dir(data_dir: str | Path | None) -> Path:
    return (expanded(data_dir) if data_dir else default_data_dir()).absolute()


def _place(data_dir: Path, recipe: _Recipe) -> Path:
    """The source's cache folder: in `data_dir` if it is there already or can be written."""
    own = data_dir / "cache" / recipe.folder
    nearest = next(path for path in (own, *own.parents) if path.exists())
    effective = os.access in os.supports_effective_ids
    read_only = data_dir.is_dir() and not os.access(nearest, os.W_OK, effective_ids=effective)
    if read_only and cache.present(own, recipe.key) is None:
        return default_data_dir().absolute() / "cache" / recipe.folder
    return own


def _check(name: str) -> None:
    if name.startswith(tree_name.PREFIXES):
        tree_name.parse(name)
    elif name not in NAMES:
        raise UnknownName(unknown_name("source", name, [AUTO, *NAMES, *IN_FILES]))


def _recipe(name: str, data_dir: Path) -> _Recipe:
    _check(name)
    if name.startswith(tree_name.PREFIX):
        return _tree(tree_name.parse(name))
    if name.startswith(tree_name.NPZ):
        return _npz(tree_name.parse(name))
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
    return _Recipe(
        folder=f"folder-{_place_of(name.root)}-{size}",
        key=f"{tree.key}-{size}",
        make=lambda scratch, report: decode_tree(tree, size, scratch, report),
        name=name,
        tree=tree,
    )


def _npz(name: tree_name.TreeName) -> _Recipe:
    from pipelines.sources import npz

    return _Recipe(
        folder=f"npz-{_place_of(name.root)}",
        key=npz.key(name.root),
        make=lambda scratch, report: npz.read(name.root, report),
        name=name,
    )


def _place_of(path: Path) -> str:
    """Identifies a path, however it is spelled, in names of folders of the cache."""
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]


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
