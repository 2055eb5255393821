"""Nets that fail, hang or wait, for a copy of the packages."""

TROUBLES = """
import ctypes, os, resource, signal, subprocess, sys, time
from pathlib import Path

import torch
from torch import nn

from architectures import Architecture


def raises(net):
    raise ValueError("boom in forward")


def gpu_full(net):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def host_full(net):
    held = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (held + 2**28, held + 2**28))
    torch.empty(2**30)


def killed(net):
    os.kill(os.getpid(), signal.SIGKILL)


def segfaults(net):
    ctypes.string_at(0)


def gives_nan(net):
    return torch.full_like(net.head.weight, float("nan")).sum()


def is_stubborn(net):
    if moment(net) == "training":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        start_others()
        time.sleep(600)


def stalls(net):
    # Its pipeline waits for worker processes that are stopped.
    if moment(net) == "training":
        for path in Path("/proc").glob("[0-9]*/stat"):
            pid, parent = int(path.parent.name), int(path.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"pt_data" in Path(f"/proc/{pid}/comm").read_bytes():
                os.kill(pid, signal.SIGSTOP)


def would_halt(net):
    now = moment(net)
    if Path(f"wait-{now}").exists():
        start_others()
        Path(f"at-{now}").write_text(str(os.getpid()))
        time.sleep(600)


def works(net):
    pass


def start_others():
    # Processes that the worker starts, one of them in a session of its own.
    for alone in (False, True):
        subprocess.Popen(["sleep", "600"], start_new_session=alone)


def doing():
    frame, names = sys._getframe(), set()
    while frame:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return next((name for name in ("warm_up", "predict", "train_epoch") if name in names), "")


def moment(net):
    now = {"warm_up": "warming_up", "predict": "evaluating"}.get(doing(), "")
    if doing() == "train_epoch" and net.evaluated == 1:
        return "training"  # of the second epoch
    return now


class Net(nn.Module):
    def __init__(self, spec, body):
        super().__init__()
        self.head = nn.Linear(spec.channels * spec.image_size**2, spec.classes)
        self.body = body
        self.evaluated = 0

    def train(self, mode=True):
        self.evaluated += int(mode and doing() == "predict")
        return super().train(mode)

    def forward(self, x):
        factor = self.body(self)
        logits = self.head(x.flatten(1))
        return logits if factor is None else logits * factor


def entry(body):
    return Architecture(
        name=body.__name__, why="a test", reference="none",
        build=lambda spec: Net(spec, body), parameters=30730, default=True,
    )
"""
NAMES = (
    "raises", "gpu_full", "host_full", "killed", "segfaults", "gives_nan",
    "is_stubborn", "stalls", "works", "would_halt",
)  # fmt: skip


def files() -> dict[str, str]:
    """One file for each net, and one with what they share."""
    entry = "from architectures import _troubles\n\n{0} = _troubles.entry(_troubles.{0})\n"
    return {"architectures/_troubles.py": TROUBLES} | {
        f"architectures/{name}.py": entry.format(name) for name in NAMES
    }
