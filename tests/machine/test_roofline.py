"""The roofline: work compared with independent counts, peaks, and rows of known records."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import architectures
from bench.machine import roofline
from bench.record import Record, Throughput
from bench.store.store import Store
from tests.fake_cuda.device import fake_cuda
from tests.made import made_failure, made_record

# Training arithmetic in GFLOP and the memory limit in thousand images/s at 3.0 TB/s in bf16, by an
# independent count: three times the forward pass but for the first layer's input, and five passes
# of two bytes over every convolution's output.
KNOWN = {
    "airnet94": (0.708, 1630),
    "airnet96": (2.71, 830),
    "resnet18": (3.33, 488),
    "resnet20": (0.242, 1590),
    "convmixer": (0.887, 269),  # depthwise, whose gradients cost no more than the product itself
    "vit_tiny": (2.19, 180),
}
PEAKS = roofline.Peaks(precision="bf16", flops_per_s=800e12, bytes_per_s=3e12)


def work_of(name: str, **changes: Any) -> roofline.Work:
    shape: dict[str, Any] = {"classes": 10, "image_size": 32, "channels": 3, "width": 1.0}
    return roofline.count_work(name, **shape | changes)


@pytest.mark.parametrize("name", KNOWN)
def test_work_agrees_with_an_independent_count(name: str) -> None:
    found = work_of(name)
    gflop, images_per_ms = KNOWN[name]
    assert found.forward_flops == architectures.get(name).flops
    assert found.train_flops / 1e9 == pytest.approx(gflop, rel=0.005)
    assert 3e12 / found.traffic_bytes(2) / 1e3 == pytest.approx(images_per_ms, rel=0.01)


def measured(name: str, ceiling: float | None, **more: Any) -> Record:
    """A record with this speed of the step; data loading costs a tenth."""
    record = made_record(architecture=name, **{"precision": "bf16", **more})
    if ceiling is None:
        return replace(record, throughput=None)
    speed = Throughput(median=0.9 * ceiling, p5=1, p95=1, ceiling=ceiling, stall_pct=10.0)
    return replace(record, throughput=speed)


def test_the_fastest_record_of_each_net_is_shown() -> None:
    records = [
        measured("b", 100.0, seed=0),
        measured("b", 300.0, optimizer="adamw"),
        measured("b", 200.0, optimizer="muon"),
        measured("c", None),
        made_failure(architecture="d"),
        measured("a", 5.0),
    ]
    cells = [record.cell for record in roofline.fastest(records)]
    shown = [(cell.architecture, cell.optimizer) for cell in cells]
    assert shown == [("a", "sgd"), ("b", "adamw")]


def test_a_row_is_in_percent_of_both_limits() -> None:
    work = roofline.Work(forward_flops=1e9, train_flops=4e9, values=6e5)
    row = roofline.row_of(measured("net", 100_000.0), work, PEAKS, passes=1)
    assert row.compute_limit_images_per_s == pytest.approx(200_000)
    assert row.memory_limit_images_per_s == pytest.approx(500_000)
    assert (row.compute_pct, row.memory_pct) == (pytest.approx(50), pytest.approx(20))
    assert (row.bound_by, row.images_per_s) == ("compute", pytest.approx(90_000))
    twice = roofline.row_of(measured("net", 100_000.0), work, PEAKS, passes=2)
    assert twice.compute_pct == pytest.approx(100)
    fp32 = roofline.row_of(measured("net", 100_000.0, precision="fp32"), work, PEAKS, passes=1)
    assert fp32.memory_pct == pytest.approx(40)
    moved = replace(work, values=2e6)
    assert roofline.row_of(measured("net", 1.0), moved, PEAKS, passes=1).bound_by == "memory"


def text_of(device: str, rows: list[roofline.Row], problems: dict[str, str]) -> str:
    machine = {"gpu": None, "cpu": device}
    report = roofline.Roofline(environment=machine, peaks=[PEAKS], rows=rows, problems=problems)
    return report.markdown()


def test_the_text_lists_peaks_and_omitted_nets() -> None:
    work = roofline.Work(forward_flops=1e9, train_flops=4e9, values=6e5)
    row = roofline.row_of(measured("net", 1e5), work, PEAKS, passes=1)
    text = text_of("a device", [row], {"odd": "its work can't be counted: it needs numbers"})
    assert "# Roofline of a device" in text
    assert "bf16: 800 TFLOP/s in a large product, 3000 GB/s in a large copy" in text
    assert "| net | sgd | 100 | 1.0000 | 4.0000 | 6.000 | 100,000 | 90,000 | 200,000 |" in text
    assert "- odd is left out: its work can't be counted: it needs numbers" in text
    assert "There is no successful run" in text_of("another", [], {})


def test_a_peak_is_work_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "seconds", lambda work, device: (work(), 0.5)[1])
    monkeypatch.setattr(roofline, "MATRIX_SIDE", {"cpu": 16})
    monkeypatch.setattr(roofline, "COPY_MIB", {"cpu": 1})
    found = roofline.measure_peaks(torch.device("cpu"), "fp32")
    assert found.flops_per_s == 2 * 16**3 / 0.5
    assert found.bytes_per_s == 2 * 2**20 / 0.5
    assert found.threads == torch.get_num_threads()


def test_peaks_of_a_gpu_are_measured_with_the_settings_of_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(roofline, "set_up_gpu", lambda: calls.append("set up"))
    monkeypatch.setattr(
        roofline, "seconds", lambda work, device: (calls.append("measured"), 1.0)[1]
    )
    with fake_cuda(monkeypatch):
        roofline.measure_peaks(torch.device("cuda"), "fp32")
    assert calls == ["set up", "measured", "measured"]


def test_files_are_written_from_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        roofline, "measure_peaks", lambda device, precision: replace(PEAKS, precision=precision)
    )
    store = Store(tmp_path)
    store.write(measured("resnet18", 120_000.0, width=1.0, precision="fp32", optimizer="sam"))
    store.write(measured("timm:no_such_net", 10.0))
    roofline.measure(tmp_path, "cpu").write(tmp_path)
    found = json.loads((tmp_path / "roofline.json").read_text())
    assert {peak["precision"] for peak in found["peaks"]} == {"fp32", "bf16"}
    (net,) = found["nets"]
    # SAM goes through the net twice; the record has two classes, which is next to nothing.
    assert net["train_flops"] == pytest.approx(2 * 3.33e9, rel=0.01)
    assert net["compute_pct"] == pytest.approx(100 * 120_000 * 6.66e9 / 800e12, rel=0.01)
    assert net["memory_pct"] == pytest.approx(100 * 120_000 * 2 * 12.288e6 / 3e12, rel=0.01)
    assert list(found["left_out"]) == ["timm:no_such_net"]
    assert found["environment"]["torch"] == str(torch.__version__)
    text = (tmp_path / "roofline.md").read_text()
    assert "| resnet18 | sam |" in text


def test_peaks_have_the_threads_of_a_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_threads(device: torch.device, precision: Any) -> roofline.Peaks:
        threads = torch.get_num_threads()
        return replace(PEAKS, precision=precision, threads=threads, flops_per_s=threads * 1e12)

    monkeypatch.setattr(roofline, "measure_peaks", with_threads)
    store = Store(tmp_path)
    for name, threads in (("cnn4", 1), ("resnet18", 2)):
        record = measured(name, 1000.0, precision="fp32", width=1.0)
        store.write(replace(record, environment={**record.environment, "threads": threads}))
    roofline.measure(tmp_path, "cpu").write(tmp_path)
    found = json.loads((tmp_path / "roofline.json").read_text())
    assert [peak["threads"] for peak in found["peaks"]] == [1, 2]
    limits = {row["architecture"]: row["compute_limit_images_per_s"] for row in found["nets"]}
    for name, threads in (("cnn4", 1), ("resnet18", 2)):
        assert limits[name] == pytest.approx(threads * 1e12 / work_of(name).train_flops, rel=0.01)
