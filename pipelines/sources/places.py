"""The folder for sources on this machine."""

import os
from pathlib import Path

from pipelines.sources.errors import SourceError

VARIABLE = "PIPELINE_BENCH_DATA"


def default_data_dir() -> Path:
    """The default folder for cached sources.

    Raises:
        SourceError: There is no home folder, and no variable names another folder.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return expanded(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    if cache:
        return Path(cache) / "pipeline-bench"
    return expanded("~") / ".cache" / "pipeline-bench"


def expanded(path: str | Path) -> Path:
    """The path with "~" expanded.

    Raises:
        SourceError: There is no such home folder, or the path isn't valid text.
    """
    try:
        os.fspath(path).encode()
        return Path(path).expanduser()
    except UnicodeEncodeError as error:
        raise SourceError(
            f"the path {os.fsencode(path)!r} is not valid UTF-8, which records need; "
            "rename the folder"
        ) from error
    except RuntimeError as error:
        raise SourceError(
            f"the user of this process has no home folder for {os.fspath(path)!r}; "
            f"name a folder for sources with --data-dir or in {VARIABLE}, or set HOME"
        ) from error
