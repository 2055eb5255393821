"""Roofline: each net's speed compared with the limits of the device.

The compute limit is the speed at which the arithmetic of training one image runs as fast as a large
matrix product, the memory limit that at which its layers' outputs move as fast as a large copy. The
nets' speeds come from a group's records; the device's peaks are measured now.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, flop_registry

import architectures
from bench import optimizers
from bench.cell import Cell, Precision
from bench.machine import environment
from bench.machine.clock import synchronize
from bench.machine.cpu import set_threads
from bench.machine.gpu import set_up_gpu
from bench.record import Record
from bench.store.codec import json_safe
from bench.store.files import write_atomically
from bench.store.store import Store
from pipelines.sources.tree_name import IMAGE_SIZE, PREFIX, parse

NAME = "roofline"
CHANNELS = 3  # in every source
COUNTED_IMAGES = 2  # batch norm fails on one image of one pixel
PASSES = 5  # over outputs: write, read for norm and activation, read backward, gradient in, out
BYTES = {"bf16": 2, "fp32": 4}
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
ROUNDS = 7
ROUND_S = 0.25
MATRIX_SIDE = {"cuda": 8192, "cpu": 1024}
COPY_MIB = {"cuda": 1024, "cpu": 256}
FLOPS_PER_BYTE = 20  # between those of CPUs and GPUs, only to compare the work of nets
MAX_COPY_SHARE = 8  # source and target each take at most 1/8 of the free memory


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Peak performance of a device; a multiply-add is two operations, bytes are read plus written.

    Args:
        precision: On a GPU, fp32 means TF32, as in runs.
        threads: Number of threads on a CPU.
    """

    precision: Precision
    flops_per_s: float
    bytes_per_s: float
    threads: int | None = None

    def __str__(self) -> str:
        threads = f" with {self.threads} threads" if self.threads else ""
        return (
            f"{self.precision}{threads}: {self.flops_per_s / 1e12:.3g} TFLOP/s in a large product, "
            f"{self.bytes_per_s / 1e9:.4g} GB/s in a large copy"
        )


@dataclass(frozen=True, kw_only=True)
class Work:
    """Work of training on one image.

    Args:
        forward_flops: Operations of convolutions, linear layers and attention.
        train_flops: Including the required gradients.
        values: Number of outputs of those layers.
    """

    forward_flops: float
    train_flops: float
    values: float

    def traffic_bytes(self, bytes_per_value: int) -> float:
        """Minimal memory traffic, with all other operations fused into those layers."""
        return PASSES * self.values * bytes_per_value

    def equivalent_flops(self, precision: Precision) -> float:
        """Operations of training, plus those that take as long as the memory traffic."""
        return self.train_flops + FLOPS_PER_BYTE * self.traffic_bytes(BYTES[precision])


@dataclass(frozen=True, kw_only=True)
class Row:
    """One net, by its fastest record.

    Args:
        train_flops: Including every pass of the optimizer.
        ceiling_images_per_s: Speed of the step alone, on one cached batch.
        compute_limit_images_per_s: Speed at the device's peak if memory were free.
        memory_limit_images_per_s: Speed at the device's peak if arithmetic were free.
    """

    architecture: str
    optimizer: str
    batch_size: int
    precision: Precision
    width: float
    forward_flops: float
    train_flops: float
    traffic_bytes: float
    ceiling_images_per_s: float
    images_per_s: float
    compute_limit_images_per_s: float
    memory_limit_images_per_s: float

    @property
    def compute_pct(self) -> float:
        """Speed of the step alone in percent of the compute limit."""
        return 100 * self.ceiling_images_per_s / self.compute_limit_images_per_s

    @property
    def memory_pct(self) -> float:
        """Speed of the step alone in percent of the memory limit."""
        return 100 * self.ceiling_images_per_s / self.memory_limit_images_per_s

    @property
    def bound_by(self) -> str:
        """The lower limit."""
        compute = self.compute_limit_images_per_s <= self.memory_limit_images_per_s
        return "compute" if compute else "memory"


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """The nets of a group compared with the peaks of a device; `problems` of those left out."""

    environment: Mapping[str, Any]
    peaks: Sequence[Peaks]
    rows: Sequence[Row]
    problems: Mapping[str, str]

    def markdown(self) -> str:
        """The peaks, and a table of the nets."""
        table = ["| " + " | ".join(COLUMNS) + " |"]
        table += ["|:--|:--|" + "--:|" * (len(COLUMNS) - 3) + ":--|"]
        table += [
            "| " + " | ".join(cell(row) for cell in COLUMNS.values()) + " |" for row in self.rows
        ]
        blocks = [
            f"# Roofline of {self.environment['gpu'] or self.environment['cpu']}",
            "\n".join(f"- {peaks}" for peaks in self.peaks),
            "\n".join(table) if self.rows else "There is no successful run, so no net has a speed.",
            "Two operations are counted per multiplication of convolutions, linear layers and "
            "attention, forward and backward. The memory limit is an estimate: five passes over "
            "each output of those layers, with everything else fused into them, and without "
            "weights and optimizer. Each net is represented by its fastest record.",
            "\n".join(f"- {name} is left out: {text}" for name, text in self.problems.items()),
        ]
        return "\n\n".join(filter(None, blocks)) + "\n"

    def json(self) -> bytes:
        """All numbers."""
        plain = {
            "schema_version": 1,
            "environment": dict(self.environment),
            "peaks": [asdict(peaks) for peaks in self.peaks],
            "nets": [
                asdict(row)
                | {name: getattr(row, name) for name in ("compute_pct", "memory_pct", "bound_by")}
                for row in self.rows
            ],
            "left_out": dict(self.problems),
        }
        return json.dumps(json_safe(plain), indent=1).encode() + b"\n"

    def write(self, folder: Path) -> None:
        """Writes `roofline.json` and `roofline.md`."""
        write_atomically(folder / f"{NAME}.json", self.json())
        write_atomically(folder / f"{NAME}.md", self.markdown().encode())


COLUMNS: dict[str, Callable[[Row], str]] = {
    "architecture": lambda row: row.architecture,
    "optimizer": lambda row: row.optimizer,
    "batch size": lambda row: str(row.batch_size),
    "GFLOP forward": lambda row: f"{row.forward_flops / 1e9:.4f}",
    "GFLOP training": lambda row: f"{row.train_flops / 1e9:.4f}",
    "MB moved": lambda row: f"{row.traffic_bytes / 1e6:.3f}",
    "images/s, step alone": lambda row: f"{row.ceiling_images_per_s:,.0f}",
    "images/s": lambda row: f"{row.images_per_s:,.0f}",
    "compute limit images/s": lambda row: f"{row.compute_limit_images_per_s:,.0f}",
    "memory limit images/s": lambda row: f"{row.memory_limit_images_per_s:,.0f}",
    "% of compute": lambda row: f"{row.compute_pct:.1f}",
    "% of memory": lambda row: f"{row.memory_pct:.1f}",
    "bound by": lambda row: row.bound_by,
}


def measure(folder: Path, device: str) -> Roofline:
    """Measures the peaks of "cuda" or "cpu" and compares a group's records with them."""
    records = fastest(Store(folder).records())
    default: Precision = "bf16" if device == "cuda" else "fp32"
    peaks = {}
    for precision, threads in dict.fromkeys(map(_conditions, records)) or {(default, None): None}:
        with set_threads(threads):
            peaks[precision, threads] = measure_peaks(torch.device(device), precision)
    rows: list[Row] = []
    problems: dict[str, str] = {}
    for record in records:
        try:
            passes = optimizers.catalog.get(record.cell.optimizer).passes
            assert record.metrics is not None
            work = work_of(record.cell, len(record.metrics.per_class))
            rows.append(row_of(record, work, peaks[_conditions(record)], passes))
        except (RuntimeError, NotImplementedError, LookupError, ValueError) as error:
            reason = next(iter(str(error).splitlines()), repr(error))
            problems[record.cell.architecture] = f"its work can't be counted: {reason}"
    return Roofline(
        environment=environment.describe(device),
        peaks=list(peaks.values()),
        rows=rows,
        problems=problems,
    )


def fastest(records: Sequence[Record]) -> list[Record]:
    """Each net's record with the fastest step alone, sorted by net."""
    successful = [record for record in records if record.status == "ok" and _ceiling(record)]
    by_net = {record.cell.architecture: record for record in sorted(successful, key=_ceiling)}
    return [by_net[name] for name in sorted(by_net)]


def _ceiling(record: Record) -> float:
    return (record.throughput.ceiling if record.throughput else None) or 0.0


def _conditions(record: Record) -> tuple[Precision, int | None]:
    """The precision and, on a CPU, the number of threads."""
    threads = record.environment.get("threads") if record.cell.device == "cpu" else None
    return record.cell.precision, threads


def row_of(record: Record, work: Work, peaks: Peaks, passes: int) -> Row:
    """The row of a record with a ceiling; `passes` is the optimizer's passes per step."""
    assert record.throughput is not None
    cell = record.cell
    flops = work.train_flops * passes
    traffic = work.traffic_bytes(BYTES[cell.precision]) * passes
    return Row(
        architecture=cell.architecture,
        optimizer=cell.optimizer,
        batch_size=cell.batch_size,
        precision=cell.precision,
        width=cell.width,
        forward_flops=work.forward_flops,
        train_flops=flops,
        traffic_bytes=traffic,
        ceiling_images_per_s=_ceiling(record),
        images_per_s=record.throughput.median,
        compute_limit_images_per_s=peaks.flops_per_s / flops,
        memory_limit_images_per_s=peaks.bytes_per_s / traffic,
    )


def work_of(cell: Cell, classes: int) -> Work:
    """The work of a cell's net; see `count_work`."""
    return count_work(
        cell.architecture,
        classes=classes,
        image_size=parse(cell.source).image_size if cell.source.startswith(PREFIX) else IMAGE_SIZE,
        channels=CHANNELS,
        width=cell.width,
    )


def count_work(
    architecture: str,
    *,
    classes: int,
    image_size: int,
    channels: int,
    width: float,
    images: int = COUNTED_IMAGES,
) -> Work:
    """Counts a net's work on tensors without memory; see `architectures.build` for the arguments.

    Raises:
        RuntimeError: The net cannot run on tensors without data.
        Unfit: It can't take such images, or its outputs aren't logits.
    """
    with torch.device("meta"):
        net = architectures.build(
            architecture, classes=classes, image_size=image_size, channels=channels, width=width
        )
        x_BCHW = torch.empty(images, channels, image_size, image_size)
    outputs: list[int] = []
    formulas = {op: _recording(outputs, formula) for op, formula in flop_registry.items()}
    formulas[torch.ops.aten.convolution_backward] = _conv_backward_flops
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        logits_BK = net(x_BCHW)
        if problem := architectures.output_problem(architecture, logits_BK, images, classes):
            raise architectures.Unfit(problem)
        forward_flops, values = counter.get_total_flops(), sum(outputs)
        logits_BK.sum().backward()
    return Work(
        forward_flops=forward_flops / images,
        train_flops=counter.get_total_flops() / images,
        values=values / images,
    )


def _recording(outputs: list[int], formula: Callable[..., int]) -> Callable[..., int]:
    """A formula for torch's counter that also records the number of output values."""

    def count(*args: Any, out_val: Any, **kwargs: Any) -> int:
        out = out_val[0] if isinstance(out_val, tuple) else out_val
        outputs.append(out.numel())
        return formula(*args, out_val=out_val, **kwargs)

    count._get_raw = True  # type: ignore[attr-defined]  # pass tensors, not shapes
    return count


def _conv_backward_flops(
    grad_shape: Any, x_shape: Any, w_shape: Any, *args: Any, out_shape: Any, **kwargs: Any
) -> int:
    """Each gradient costs as much as the convolution.

    torch's own formula counts the gradients of a grouped convolution as those of a full one.
    """
    needs_x, needs_w, _ = args[-1]
    flops = conv_flop_count(x_shape, w_shape, grad_shape)
    return int(flops * (needs_x + needs_w))


def measure_peaks(device: torch.device, precision: Precision) -> Peaks:
    """Measures with torch's current number of threads; takes some seconds."""
    gpu = device.type == "cuda"
    if gpu:
        set_up_gpu()
    side, dtype = MATRIX_SIDE[device.type], DTYPES[precision]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    return Peaks(
        precision=precision,
        flops_per_s=2 * side**3 / seconds(lambda: torch.mm(a, b, out=product), device),
        bytes_per_s=bandwidth(device),
        threads=None if gpu else torch.get_num_threads(),
    )


def bandwidth(device: torch.device) -> float:
    """Bytes read plus written per second by a large copy on the device."""
    size = copy_bytes(device)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds(lambda: target.copy_(source), device)


def copy_bytes(device: torch.device) -> int:
    """Far more than any cache size, and far less than the free memory."""
    size = COPY_MIB[device.type] * 2**20
    if device.type != "cuda":
        return size
    free, _ = torch.cuda.mem_get_info(device)
    return min(size, free // MAX_COPY_SHARE)


def seconds(work: Callable[[], Tensor], device: torch.device) -> float:
    """Median duration of one call, over rounds of as many calls as fit into `ROUND_S`."""
    round_s, calls = 0.0, 1
    while round_s < ROUND_S / 4:
        calls *= 2
        round_s = _round_s(work, device, calls)
    calls = max(1, round(calls * ROUND_S / round_s))
    return statistics.median(_round_s(work, device, calls) / calls for _ in range(ROUNDS))


def _round_s(work: Callable[[], Tensor], device: torch.device, calls: int) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        work()
    synchronize(device)
    return time.perf_counter() - start
