"""Peak memory over one run, on the host by what the kernel says."""

import sys
from pathlib import Path

import pytest
import torch

from bench.machine import monitor
from bench.record import Memory

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_hosts_peak_counts_what_was_used_in_between() -> None:
    monitor.reset_peaks(CPU)
    before = monitor.peaks(CPU).host_gib
    torch.ones(2**27 // 4)  # an eighth of a GiB, gone at once
    after = monitor.peaks(CPU).host_gib
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(0.125, abs=0.02)


def test_a_cpu_has_no_device_memory() -> None:
    found = monitor.peaks(CPU)
    assert (found.torch_gib, found.device_gib) == (None, None)


def test_a_system_without_proc_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(Path, "write_text", missing)
    monitor.reset_peaks(CPU)
    assert monitor.peaks(CPU) == Memory()


def test_peaks_are_read_in_kibibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: "VmPeak: 9 kB\nVmHWM:\t 1048576 kB\n")
    assert monitor.peaks(CPU).host_gib == 1.0
    monkeypatch.setattr(Path, "read_text", lambda path: "Name: x\n")
    assert monitor.peaks(CPU).host_gib is None
