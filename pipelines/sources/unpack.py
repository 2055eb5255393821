"""Reads files from a tar archive without extracting it."""

import tarfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

from pipelines.sources.errors import AttemptFailed


def files_in(
    archive: Path, wanted: Collection[str], *, limit_bytes: int
) -> Iterator[tuple[str, bytes]]:
    """The files called `wanted`, in the archive's order, each with its bytes.

    Everything else, including links and devices, is skipped.

    Args:
        wanted: Full names of members.
        limit_bytes: Largest unpacked size of all members.

    Raises:
        AttemptFailed: It isn't a valid archive, unpacks to more, or lacks a file.
    """
    lacking, total = set(wanted), 0
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                total += member.size
                if total > limit_bytes:
                    raise AttemptFailed(f"{archive.name} unpacks to more than {limit_bytes} bytes")
                file = tar.extractfile(member) if member.isreg() else None
                if file is not None and member.name in lacking:
                    lacking.remove(member.name)
                    yield member.name, file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise AttemptFailed(f"{archive.name} is not a complete tar archive ({reason})") from error
    if lacking:
        raise AttemptFailed(f"{archive.name} lacks {', '.join(sorted(lacking))}")
