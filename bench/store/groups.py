"""Groups: one folder per machine, source and scale, and the search for them."""

import hashlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.store.files import StoreError, explained, slug
from bench.store.loaders_record import LOADERS_FILE

REFERENCE = "reference"
LONGEST_NAME = 100  # characters of an image folder's name in its group's name
DEPTH = 3  # levels below a results folder that are searched for groups


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group folder found under a results folder, perhaps one of the repository's reference."""

    folder: Path
    reference: bool = False

    @property
    def name(self) -> str:
        """The folder's name: "<machine>_<source>_<scale>" unless renamed."""
        return self.folder.name

    @property
    def machine(self) -> str:
        """The part of the name before the first underscore."""
        return self.name.partition("_")[0]


def group_folder(root: Path, machine: str, source: str, scale: str) -> Path:
    """The folder of one machine, source and scale: "<root>/<machine>_<source>_<scale>"."""
    kind = source.partition(":")[0]
    if source.startswith(("folder:", "npz:")):
        from pipelines.sources.tree_name import parse  # imports numpy, which takes a while

        name = parse(source)
        options = source.removeprefix(f"{kind}:{name.path}")
        path = Path(f"{Path(name.path).expanduser().resolve()}{options}")
        mark = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
        source = f"{kind}-{path.name[:LONGEST_NAME]}-{mark}"
    return Path(root) / "_".join(map(slug, (machine, source, scale)))


def groups(root: Path, *, machines: Collection[str] = (), loaders: bool = False) -> list[Group]:
    """The group folders at or under `root`: `machines` first, reference matrices last.

    Args:
        loaders: Whether to include folders with only `loaders.json`.

    Raises:
        StoreError: There is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise StoreError(
            f"there is no results folder {root}: name one that `bench run` has written"
        )
    found = [
        Group(folder=folder, reference=folder.resolve().parent.name == REFERENCE)
        for folder in _groups_below(root, DEPTH, LOADERS_FILE if loaders else "records")
    ]
    return sorted(
        found, key=lambda group: (group.reference, group.machine not in machines, group.name)
    )


def _groups_below(folder: Path, depth: int, needed: str) -> Iterator[Path]:
    if (folder / "records").is_dir() or (folder / needed).exists():
        yield folder
    elif depth:
        with explained(f"read {folder}"):
            below = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
        for path in below:
            yield from _groups_below(path, depth - 1, needed)


def result_folders(results: Path) -> list[Path]:
    """All group folders at or under `results`, including those with only `loaders.json`."""
    return sorted(group.folder for group in groups(results, loaders=True))
