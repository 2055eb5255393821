"""The record of `bench loaders` read back from the file that it left in a group folder."""

from pathlib import Path
from typing import Any

import msgspec

from bench.files import StoreError, explained, read_file
from bench.loader_record import LoadersRecord
from bench.printable import legible

FILE = "loaders.json"
LARGEST = 2**26  # bytes


def read(folder: Path) -> LoadersRecord | None:
    """What `bench loaders` found in this group; None if it was not called.

    Raises:
        StoreError: The file cannot be read, or is no such record.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with explained(f"read {path}"):
            text = read_file(path, LARGEST)
        return legible(msgspec.convert(_plain(msgspec.json.decode(text)), LoadersRecord))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"{path} is no record of `bench loaders` ({error}): call it again, or delete the file"
        ) from error


def _plain(whole: dict[str, Any]) -> dict[str, Any]:
    """The record's own fields; the file's rows hold those of each series among derived figures."""
    return whole | {"series": [_series(row) for row in whole["rows"]]}


def _series(row: dict[str, Any]) -> dict[str, Any]:
    memory = {name: row[name] for name in ("host_gib", "torch_gib", "device_gib")}
    return row | {"draws": row["draws_by_op"], "memory": memory}


__all__ = ["read"]
