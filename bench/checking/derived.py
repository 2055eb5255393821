"""Files that are made of the records: whether they are what the records make now."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bench.checking.finding import Finding
from bench.files import StoreError, StrangeFile, read_file
from bench.record import Record
from bench.report.made_of import HEAD, made_of, read_sum
from bench.store import Store

TABLES: tuple[Literal["csv", "md"], ...] = ("csv", "md")
LARGEST = 2**28  # bytes of a derived file


def in_tables(store: Store, records: Sequence[Record]) -> Iterator[Finding]:
    """Whether matrix.csv and matrix.md are the tables of the records."""
    from bench.report.matrix import build
    from bench.report.table import render

    if not records:
        return
    matrix = build(records)
    made = {"matrix.csv": render(matrix, "csv"), "matrix.md": render(matrix, "md")}
    yield from _differing(store.folder, made, "the records make")


def in_page(store: Store, records: Sequence[Record]) -> Iterator[Finding]:
    """Whether a page, if there is one, shows the records that there are."""
    from bench.report.loaders_reading import read
    from bench.report.writing import PAGE

    path = store.folder / PAGE
    if not path.is_symlink() and not path.exists():
        return
    try:
        said = read_sum(read_file(path, LARGEST)[:HEAD].decode(errors="replace"))
        up_to_date = said == made_of([(records, read(store.folder))])
    except (OSError, StrangeFile):
        up_to_date = False
    except StoreError:  # of loaders.json, which is told by itself
        return
    if not up_to_date:
        yield Finding(level="stale", path=path, problem="was made of other records than there are")


def in_loaders(store: Store) -> Iterator[Finding]:
    """Whether loaders.json can be read, and its tables are those that it makes."""
    from bench.checking.loaders import problems
    from bench.report import loaders
    from bench.report.loaders_reading import FILE, read

    path = store.folder / FILE
    try:
        record = read(store.folder)
    except StoreError as error:
        said = str(error).removeprefix(f"{path} ")
        yield Finding(level="wrong", path=path, problem=said.partition(": call it")[0],
                      advice="call `bench loaders` again, or delete the file")  # fmt: skip
        return
    if record is None:
        return
    for problem in problems(record):
        yield Finding(
            level="wrong", path=path, problem=problem, advice="call `bench loaders` again"
        )
    # An older file lacks what is recorded since; what it has must be what its series make.
    if not _agrees(json.loads(path.read_bytes()), json.loads(loaders.render(record, "json"))):
        yield Finding(level="stale", path=path, problem="is not what its series make now")
    made = {f"loaders.{form}": loaders.render(record, form) for form in TABLES}
    yield from _differing(store.folder, made, "its series make")


def _agrees(found: Any, made: Any) -> bool:
    if isinstance(found, dict):
        return isinstance(made, dict) and all(
            name in made and _agrees(value, made[name]) for name, value in found.items()
        )
    if isinstance(found, list):
        return isinstance(made, list) and len(found) == len(made) and all(map(_agrees, found, made))
    return bool(found == made)


def _differing(folder: Path, made: Mapping[str, str], who: str) -> Iterator[Finding]:
    for name, content in made.items():
        path = folder / name
        try:
            same = read_file(path, LARGEST) == content.encode()
        except FileNotFoundError:
            yield Finding(level="stale", path=path, problem="is missing")
            continue
        except (OSError, StrangeFile) as error:
            yield Finding(level="stale", path=path, problem=str(error))
            continue
        if not same:
            yield Finding(level="stale", path=path, problem=f"is not what {who} now")


__all__ = ["in_loaders", "in_page", "in_tables"]
