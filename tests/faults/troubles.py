"""Nets that crash, train or wait, for a copy of the packages."""

TROUBLES = """
import ctypes, subprocess, sys, time
from pathlib import Path

import torch
from torch import nn

from architectures import Architecture


def segfaults(net):
    ctypes.string_at(0)


def would_halt(net):
    now = moment(net)
    if Path(f"wait-{now}").exists():
        start_others()
        Path(f"at-{now}").touch()
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
        if not x.is_meta:  # the plan counts the work of a net without computing anything
            self.body(self)
        return self.head(x.flatten(1))


def entry(body):
    return Architecture(
        name=body.__name__, why="a test", reference="none",
        build=lambda spec: Net(spec, body), parameters=30730, default=True,
    )
"""
NAMES = ("segfaults", "works", "would_halt")
# Lets a worker wait before it answers the command that plans, and before it imports the rest.
SITECUSTOMIZE = """
import os, sys, time
from pathlib import Path


def reached(moment):
    if Path(f"wait-{moment}").exists():
        Path(f"at-{moment}").touch()
        time.sleep(600)


class Finder:
    def find_spec(name, path=None, target=None):
        if name in MOMENTS:
            reached(MOMENTS[name])


MOMENTS = {"torch": "planning", "bench.training.run": "starting"}
if "bench.executors.worker" in sys.orig_argv:
    sys.meta_path.insert(0, Finder)
"""


def files() -> dict[str, str]:
    """One file per net, and what they share."""
    entry = "from architectures import _troubles\n\n{0} = _troubles.entry(_troubles.{0})\n"
    shared = {"architectures/_troubles.py": TROUBLES, "sitecustomize.py": SITECUSTOMIZE}
    return shared | {f"architectures/{name}.py": entry.format(name) for name in NAMES}
