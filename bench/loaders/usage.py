"""CPU time and memory of this process and its descendants: loader workers, and all threads."""

import os
import re
import time
from contextlib import suppress
from pathlib import Path

import psutil

from bench.machine.monitor import GIB, host_peak_gib

_OWN_KB = re.compile(r"^Pss_(?:Anon|Shmem): +(\d+) kB", re.MULTILINE)


def cpu_s() -> float:
    """User and system time so far, with that of children that have ended."""
    ended = os.times()
    total_s = time.process_time() + ended.children_user + ended.children_system
    for process in _children():
        with suppress(psutil.Error):  # it has ended, and its parent has its time
            total_s += sum(process.cpu_times()[:4])
    return total_s


def peak_gib() -> float | None:
    """The peak memory of each process, summed; shared memory counts once. None if unknown.

    A process counts with the anonymous and shared part of its proportional set size (PSS), plus the
    difference between its resident set now and at its peak, which `monitor.reset_peaks` resets.
    Mapped files, such as libraries, don't count, as their share depends on other processes. Without
    PSS, as on macOS, it is the current unique set size (USS).
    """
    total_gib = 0.0
    for process in (psutil.Process(), *_children()):
        with suppress(psutil.NoSuchProcess, ProcessLookupError):  # it has ended
            try:
                total_gib += _now_gib(process)
                now_gib = process.memory_info().rss / GIB
            except (psutil.AccessDenied, PermissionError):
                return None
            total_gib += max(0.0, (host_peak_gib(process.pid) or 0.0) - now_gib)
    return total_gib


def _now_gib(process: psutil.Process) -> float:
    try:
        sizes = _OWN_KB.findall(Path(f"/proc/{process.pid}/smaps_rollup").read_text())
    except FileNotFoundError:
        sizes = []
    if sizes or psutil.LINUX:
        return sum(map(int, sizes)) * 1024 / GIB
    return float(process.memory_full_info().uss) / GIB


def _children() -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found
