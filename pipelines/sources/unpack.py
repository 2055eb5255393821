"""Reads chosen files out of a tar archive; nothing of it is written, followed or run."""

import tarfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

from pipelines.sources.errors import WayFailed


def files_in(
    archive: Path, wanted: Collection[str], *, limit_bytes: int
) -> Iterator[tuple[str, bytes]]:
    """The files called `wanted`, in the archive's order, each with its bytes.

    Links, devices and other names are passed over, so a name that leads out of a folder leads
    nowhere.

    Args:
        archive: A tar file, compressed or not.
        wanted: Full names of members.
        limit_bytes: Most that all members together may unpack to.

    Raises:
        WayFailed: It is no such archive, unpacks to more, or lacks a file.
    """
    lacking, total = set(wanted), 0
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                total += member.size
                if total > limit_bytes:
                    raise WayFailed(f"{archive.name} unpacks to more than {limit_bytes} bytes")
                file = tar.extractfile(member) if member.isreg() else None
                if file is not None and member.name in lacking:
                    lacking.remove(member.name)
                    yield member.name, file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise WayFailed(f"{archive.name} is no whole tar archive ({said})") from error
    if lacking:
        raise WayFailed(f"{archive.name} lacks {', '.join(sorted(lacking))}")
