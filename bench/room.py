"""Whether a results folder can be written and has room, found out before anything is trained."""

import os
from pathlib import Path

from bench.files import StoreError, explained, settle
from bench.wording import count

NEEDED_MIB = 64
RUN_MIB = 0.25  # what a run leaves: record, predictions, event file, log


def check(folder: Path, runs: int) -> str:
    """Writes to a folder that exists, and looks how much more it can take.

    Args:
        folder: A group's `records`.
        runs: How many are to come.

    Returns:
        A warning if the room may not do for so many; else "".

    Raises:
        StoreError: It cannot be written, or its disk is full.
    """
    group = folder.parent
    trial = folder / f"trial.{os.getpid()}.tmp"
    with explained(f"write to the results folder {group}"):
        try:
            trial.write_bytes(b"\0" * 65536)
        finally:
            trial.unlink(missing_ok=True)
        for place in (folder, group, group.parent):
            settle(place)  # a process that died may have made them and got no further
        disk = os.statvfs(folder)
    free_mib = disk.f_bavail * disk.f_frsize / 2**20
    needed_mib = NEEDED_MIB + RUN_MIB * runs
    advice = f"make room for at least {needed_mib:.0f} MiB, or name another folder"
    if free_mib < NEEDED_MIB:
        raise StoreError(f"only {free_mib:.0f} MiB are free for {group}: {advice}")
    if free_mib < needed_mib:
        told = count(runs, "run")
        return f"{free_mib:.0f} MiB are free for {group}, which is little for {told}: {advice}"
    return ""


__all__ = ["check"]
