"""Folders of derived files: what is derived no more goes, what somebody put there stays."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.files import explained, write_atomically

LIST = ".written.json"  # name to SHA-256 of each file that was written


def replace_files(
    folder: Path, files: Mapping[str, bytes], on_warning: Callable[[str], None]
) -> None:
    """Writes `files` into a folder and removes those that the last call wrote and this does not.

    A file that nobody wrote here, or that somebody changed since, is never removed.

    Args:
        folder: Made if need be.
        files: Name to content.
        on_warning: Is told of a list that cannot be read, by which nothing is removed.

    Raises:
        StoreError: A file cannot be written or removed.
    """
    # In this order a crash leaves no file that is ours and stands in no list.
    for name, digest in _listed(folder / LIST, on_warning).items():
        if name not in files:
            _remove(folder / name, digest)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    write_atomically(folder / LIST, (json.dumps(sums, indent=1) + "\n").encode())
    for name, content in files.items():
        write_atomically(folder / name, content)


def _listed(path: Path, on_warning: Callable[[str], None]) -> dict[str, str]:
    """What the last call wrote; names that lead out of the folder are no names of ours."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        on_warning(f"{path} cannot be read, old files beside it stay: {error}")
        return {}
    if not isinstance(found, dict):
        on_warning(f"{path} is no list of files, old files beside it stay")
        return {}
    return {name: digest for name, digest in found.items() if Path(name).name == name}


def _remove(path: Path, digest: str) -> None:
    with explained(f"remove the old file {path}"):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            path.unlink()


__all__ = ["LIST", "replace_files"]
