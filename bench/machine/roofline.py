"""Each net against what the device can do: percent of the compute and of the memory floor.

    python -m bench.machine.roofline GROUP_FOLDER DEVICE

Speeds are those of the records in the folder; peaks are measured now. Writes `roofline.json` and
`roofline.md` there.

What a device can do at most: multiplications by a large product, bytes by a large copy.

What a net costs an image: arithmetic and memory traffic, counted without computing anything.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import architectures
from bench.cell import Precision
from bench.machine.clock import synchronize
from bench.record import Record
from bench.store.codec import json_safe
from bench.store.files import write_atomically
from bench.store.store import Store
from pipelines.sources.tree_name import IMAGE_SIZE, PREFIX, parse

NAME = "roofline"
CHANNELS = 3  # of every source
BYTES = {"bf16": 2, "fp32": 4}
HEADS = (
    "architecture", "optimizer", "batch size", "GFLOP forward", "GFLOP training", "MB moved",
    "images/s, step alone", "images/s", "compute floor images/s", "memory floor images/s",
    "% of compute", "% of memory", "bound by",
)  # fmt: skip
# Dense bf16 and memory as NVIDIA's data sheets state them, by the name that the driver gives.
DATA_SHEETS = {
    "NVIDIA H200": (989e12, 4.8e12),
    "NVIDIA H100 80GB HBM3": (989e12, 3.35e12),
    "NVIDIA H100 PCIe": (756e12, 2.0e12),
    "NVIDIA A100-SXM4-80GB": (312e12, 2.039e12),
    "NVIDIA A100-SXM4-40GB": (312e12, 1.555e12),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One net by its fastest record.

    Args:
        architecture: Entry name.
        optimizer: Of that record, as the batch size and the precision.
        batch_size: Images a step.
        precision: Likewise.
        width: Of the net.
        forward_flops: Of one image.
        train_flops: Of one image in training, every pass of the optimizer counted.
        traffic_bytes: That one image has to move at least in training.
        ceiling_images_per_s: The step alone, fed one cached batch.
        images_per_s: Of the same record, data included.
        compute_floor_images_per_s: At the device's peak, if memory cost nothing.
        memory_floor_images_per_s: Likewise, if arithmetic cost nothing.
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
    compute_floor_images_per_s: float
    memory_floor_images_per_s: float

    @property
    def compute_pct(self) -> float:
        """Of the compute floor that the step alone reaches."""
        return 100 * self.ceiling_images_per_s / self.compute_floor_images_per_s

    @property
    def memory_pct(self) -> float:
        """Likewise of the memory floor."""
        return 100 * self.ceiling_images_per_s / self.memory_floor_images_per_s

    @property
    def bound(self) -> str:
        """Which of both floors is the lower one."""
        compute = self.compute_floor_images_per_s <= self.memory_floor_images_per_s
        return "compute" if compute else "memory"


def fastest(records: Sequence[Record]) -> list[Record]:
    """Of each net the record whose step alone is the fastest; by name."""
    found: dict[str, Record] = {}
    for record in records:
        name = record.cell.architecture
        if record.status == "ok" and _ceiling(record) > (
            _ceiling(found[name]) if name in found else 0.0
        ):
            found[name] = record
    return [found[name] for name in sorted(found)]


def _ceiling(record: Record) -> float:
    return (record.throughput.ceiling if record.throughput else None) or 0.0


def row(record: Record, work: "Work", peaks: "Peaks", passes: int) -> Row:
    """The row of a record.

    Args:
        record: It has a ceiling.
        work: Of its net.
        peaks: Of its device, in its precision.
        passes: Through the net that the optimizer makes in a step.
    """
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
        compute_floor_images_per_s=peaks.flops_per_s / flops,
        memory_floor_images_per_s=peaks.bytes_per_s / traffic,
    )


def markdown(
    device: str, peaks: Sequence["Peaks"], rows: Sequence[Row], problems: Mapping[str, str]
) -> str:
    """The peaks and a table of the nets."""
    lines = ["| " + " | ".join(HEADS) + " |", "|:--|:--|" + "--:|" * (len(HEADS) - 3) + ":--|"]
    lines += ["| " + " | ".join(_cells(one)) + " |" for one in rows]
    blocks = [
        f"# Roofline of {device}",
        "\n".join(f"- {_peak(device, one)}" for one in peaks),
        "\n".join(lines) if rows else "No run has ended well yet, so that no net has a speed.",
        "Arithmetic is two for each multiplication of convolutions, linear layers and attention, "
        "forward and backward. The memory floor is an estimate: five passes over each output of "
        "those layers, all else fused into them; weights and optimizer are left out. Of each net "
        "the fastest record is shown.",
        "\n".join(f"- {name} is left out: {reason}" for name, reason in problems.items()),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _peak(device: str, peaks: "Peaks") -> str:
    threads = f" with {peaks.threads} threads" if peaks.threads else ""
    said = (
        f"{peaks.precision}{threads}: {peaks.flops_per_s / 1e12:.3g} TFLOP/s by a large product, "
        f"{peaks.bytes_per_s / 1e9:.4g} GB/s by a large copy"
    )
    stated = DATA_SHEETS.get(device)
    if stated is None or peaks.precision != "bf16":
        return said
    return (
        f"{said}; the data sheet states {stated[0] / 1e12:.0f} and {stated[1] / 1e9:.0f}, of which "
        f"that is {100 * peaks.flops_per_s / stated[0]:.0f} % and "
        f"{100 * peaks.bytes_per_s / stated[1]:.0f} %"
    )


def _cells(one: Row) -> list[str]:
    return [
        one.architecture,
        one.optimizer,
        str(one.batch_size),
        f"{one.forward_flops / 1e9:.4f}",
        f"{one.train_flops / 1e9:.4f}",
        f"{one.traffic_bytes / 1e6:.3f}",
        f"{one.ceiling_images_per_s:,.0f}",
        f"{one.images_per_s:,.0f}",
        f"{one.compute_floor_images_per_s:,.0f}",
        f"{one.memory_floor_images_per_s:,.0f}",
        f"{one.compute_pct:.1f}",
        f"{one.memory_pct:.1f}",
        one.bound,
    ]


def as_json(
    environment: Mapping[str, Any],
    peaks: Sequence["Peaks"],
    rows: Sequence[Row],
    problems: Mapping[str, str],
) -> bytes:
    """All figures."""
    plain = {
        "schema_version": 1,
        "environment": dict(environment),
        "peaks": [asdict(one) for one in peaks],
        "nets": [
            asdict(one)
            | {"compute_pct": one.compute_pct, "memory_pct": one.memory_pct, "bound_by": one.bound}
            for one in rows
        ],
        "left_out": dict(problems),
    }
    return json.dumps(json_safe(plain), indent=1).encode() + b"\n"


def draw(folder: Path, device: str) -> str:
    """Measures the peaks, counts the nets, and writes both files.

    Returns:
        The Markdown.

    Raises:
        StoreError: The folder cannot be read or written.
    """
    from bench.machine import environment

    records = fastest(Store(folder).records())
    peaks = _measured(records, device)
    rows: list[Row] = []
    problems: dict[str, str] = {}
    for record in records:
        try:
            rows.append(_counted(record, peaks[_computed_in(record)]))
        except (RuntimeError, NotImplementedError, LookupError, ValueError) as error:
            name, reason = record.cell.architecture, str(error).splitlines() or [repr(error)]
            problems[name] = f"it cannot be counted: {reason[0]}"
    found = environment.describe(device)
    text = markdown(str(found["gpu"] or found["cpu"]), list(peaks.values()), rows, problems)
    content = as_json(found, list(peaks.values()), rows, problems)
    write_atomically(folder / f"{NAME}.json", content)
    write_atomically(folder / f"{NAME}.md", text.encode())
    return text


def _measured(records: Sequence[Record], device: str) -> "dict[tuple[Precision, Any], Peaks]":
    """The peaks in each precision and with each number of threads that the records have."""
    import torch

    from bench.machine.cpu import set_threads

    usual: Precision = "bf16" if device == "cuda" else "fp32"
    found: dict[tuple[Precision, Any], Peaks] = {}
    for precision, threads in dict.fromkeys(map(_computed_in, records)) or {(usual, None): None}:
        with set_threads(threads):
            found[precision, threads] = measure(torch.device(device), precision)
    return found


def _computed_in(record: Record) -> "tuple[Precision, Any]":
    """The precision, and on a CPU the number of threads."""
    threads = record.environment.get("threads") if record.cell.device == "cpu" else None
    return record.cell.precision, threads


def _counted(record: Record, peaks: "Peaks") -> Row:
    from bench import optimizers

    cell = record.cell
    assert record.metrics is not None
    work = count(
        cell.architecture,
        classes=len(record.metrics.per_class),
        image_size=parse(cell.source).image_size if cell.source.startswith(PREFIX) else IMAGE_SIZE,
        channels=CHANNELS,
        width=cell.width,
    )
    return row(record, work, peaks, optimizers.catalog.get(cell.optimizer).passes)


def main(arguments: Sequence[str]) -> None:
    """What the command does."""
    folder, device = arguments
    text = draw(Path(folder), device)
    print(text, end="", flush=True)
    # The last line is what a self-check hears: the peaks.
    print("; ".join(line[2:] for line in text.splitlines() if line.startswith("- ")), flush=True)


ROUNDS = 7
ROUND_S = 0.25
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
SIDES = {"cuda": 8192, "cpu": 1024}  # of the product's matrices
COPIED_MIB = {"cuda": 1024, "cpu": 256}
SHARE = 8  # of the free memory, at most one part in as many for each side of the copy


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Measured on this device; medians of the rounds.

    Args:
        precision: Of the product. fp32 on a GPU is what its convolutions use by default, TF32.
        flops_per_s: Two for each multiplication.
        bytes_per_s: Read and written together.
        threads: That computed, on a CPU; None on a GPU.
    """

    precision: Precision
    flops_per_s: float
    bytes_per_s: float
    threads: int | None = None


def measure(device: torch.device, precision: Precision) -> Peaks:
    """Measures with whatever threads torch has now; takes some seconds."""
    gpu = device.type == "cuda"
    if gpu and precision == "fp32":
        torch.set_float32_matmul_precision("high")
    side, size = SIDES[device.type], copied_bytes(device)
    return Peaks(
        precision=precision,
        flops_per_s=2 * side**3 / product_s(side, DTYPES[precision], device),
        bytes_per_s=2 * size / copy_s(size, device),
        threads=None if gpu else torch.get_num_threads(),
    )


def product_s(side: int, dtype: torch.dtype, device: torch.device) -> float:
    """Seconds of a product of square matrices."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    return seconds(lambda: torch.mm(a, b, out=product), device)


def copy_s(size: int, device: torch.device) -> float:
    """Seconds of a copy of so many bytes on the device."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return seconds(lambda: target.copy_(source), device)


def copied_bytes(device: torch.device) -> int:
    """Far more than any cache holds, and far less than is free."""
    wanted = COPIED_MIB[device.type] * 2**20
    if device.type != "cuda":
        return wanted
    free, _ = torch.cuda.mem_get_info(device)
    return min(wanted, free // SHARE)


def seconds(work: Callable[[], Tensor], device: torch.device) -> float:
    """Median time of one call; as many calls a round as take `ROUND_S`, the device idle around."""
    took_s, calls = 0.0, 1
    while took_s < ROUND_S / 4:
        calls, took_s = calls * 2, _round(work, device, calls * 2)
    calls = max(1, round(calls * ROUND_S / took_s))
    return statistics.median(_round(work, device, calls) / calls for _ in range(ROUNDS))


def _round(work: Callable[[], Tensor], device: torch.device, calls: int) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        work()
    synchronize(device)
    return time.perf_counter() - start


IMAGES = 2  # a batch norm over one image of one pixel has nothing to average
PASSES = 5  # over an output: written, read by norm and activation, read backward, gradient in, out
aten = torch.ops.aten
# Where the two factors stand among the arguments. What lies between such operations can be fused
# into them, so that their outputs are what has to pass through memory.
FACTORS: Mapping[Any, tuple[int, ...]] = {
    aten.convolution.default: (0, 1),
    aten.mm.default: (0, 1),
    aten.bmm.default: (0, 1),
    aten.addmm.default: (1, 2),
    aten.baddbmm.default: (1, 2),
}
ATTENTION_FACTORS = (0, 2)  # two products; each has a gradient for both of its sides


@dataclass(frozen=True, kw_only=True)
class Work:
    """Of one image in training.

    Args:
        forward_flops: Two for each multiplication of convolutions, linear layers and attention.
        train_flops: The same with the gradients; none for what stands still, nor for the image.
        values: Outputs of those layers.
    """

    forward_flops: float
    train_flops: float
    values: float

    def traffic_bytes(self, bytes_a_value: int) -> float:
        """That training has to move at least, if all between the layers is fused into them."""
        return PASSES * self.values * bytes_a_value


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what passes through it; a gradient costs as much as the product it belongs to.

    torch's own counter gives a depthwise convolution's gradient the arithmetic of a full one.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.forward = self.train = self.values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        attends = "scaled_dot_product" in func.__name__
        if func in FACTORS or attends:
            flops = flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=found)
            factors = ATTENTION_FACTORS if attends else FACTORS[func]
            self.forward += flops
            self.train += flops * (1 + sum(args[place].requires_grad for place in factors))
            self.values += (found[0] if isinstance(found, tuple) else found).numel()
        return found


def count(architecture: str, *, classes: int, image_size: int, channels: int, width: float) -> Work:
    """Counts on tensors without memory.

    Args:
        architecture: Name of an entry.
        classes: As for `architectures.build`, like the others.
        image_size: Pixels a side.
        channels: Of the images.
        width: Of the net.

    Raises:
        RuntimeError: The net needs real numbers to run.
    """
    with torch.device("meta"):
        net = architectures.build(
            architecture, classes=classes, image_size=image_size, channels=channels, width=width
        )
        x_BCHW = torch.empty(IMAGES, channels, image_size, image_size)
    with _Counter() as counter:
        net(x_BCHW)
    return Work(
        forward_flops=counter.forward / IMAGES,
        train_flops=counter.train / IMAGES,
        values=counter.values / IMAGES,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
