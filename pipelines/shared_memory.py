"""Shared memory, in which worker processes hand over their batches."""

import math
import os

PLACE = "/dev/shm"


def free_bytes() -> int | None:
    """Free bytes of shared memory; None where the system doesn't limit it by a folder."""
    try:
        room = os.statvfs(PLACE)
    except (OSError, AttributeError):  # macOS, Windows
        return None
    return room.f_bavail * room.f_frsize


def remedy() -> str:
    """How much shared memory is free, and the remedy, for an error of a worker."""
    free = free_bytes()
    if free is None:
        return "take fewer workers"
    return (
        f"{PLACE}, in which workers hand over batches, has {free / 2**20:,.0f} MiB free: if that "
        "is too little, take fewer workers, as in --pipeline 'torchvision[workers=0]', or start "
        "the container with docker run --shm-size=2g"
    )


def problem(need: int, pipeline: str) -> str:
    """Why batches of `need` bytes can't be handed over; "" if they can.

    A process that writes beyond the limit is killed, and the others wait for its batch.

    Args:
        pipeline: Its name with the number of workers, for the message.
    """
    free = free_bytes()
    if free is None or need <= free:
        return ""
    return (
        f"{pipeline} needs {need / 2**20:,.0f} MiB of shared memory for its workers' batches, "
        f"{PLACE} has {free / 2**20:,.0f} MiB free: take fewer workers, as in --pipeline "
        f"'torchvision[workers=0]', or start the container with "
        f"docker run --shm-size={math.ceil(need / 2**30)}g"
    )
