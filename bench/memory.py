"""Peak memory of this process and of the device, over one run."""

from pathlib import Path

import torch

from bench.record import Memory

_GIB = 2**30


def reset_peaks(device: torch.device) -> None:
    """Starts a new peak. Where the system cannot reset the host's, it stays the process's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peaks(device: torch.device) -> Memory:
    """Peaks since `reset_peaks`, in GiB."""
    if device.type != "cuda":
        return Memory(host_gib=_host_gib())
    free, total = torch.cuda.mem_get_info(device)
    return Memory(
        host_gib=_host_gib(),
        torch_gib=torch.cuda.max_memory_allocated(device) / _GIB,
        device_gib=(total - free) / _GIB,
    )


def _host_gib() -> float | None:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / _GIB
    return None
