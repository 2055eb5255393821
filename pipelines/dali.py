"""NVIDIA DALI: its operators, fed with our order and our draws.

DALI's own random numbers go on from where the last epoch stopped, and its continuous crop position
gives the two outermost offsets half the weight. Draws handed in as arguments have neither fault and
cost a few bytes a sample. Without an NVIDIA driver the same graph runs on DALI's CPU operators.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from pipelines.base import Batch, Library, Pipeline, Request, derive_seed, flipped
from pipelines.ops import AlternatingFlip, Crop, Cutout, HorizontalFlip, Op

THREADS = 2
PREFETCH = 2  # batches that DALI works on ahead of the one that is delivered
DTYPES = {torch.float32: "FLOAT", torch.float16: "FLOAT16"}


@dataclass(kw_only=True)
class Graph:
    """A DALI graph in the making.

    Args:
        images: The node that gives the images so far, HWC.
        size: (height, width).
        mean: Of each channel, in 0..255.
        std: Likewise.
        dtype: DALI's name of the output's type.
        normalised: Whether `images` are normalised floats already, or still uint8 in 0..255.
    """

    images: Any
    size: tuple[int, int]
    mean: list[float]
    std: list[float]
    dtype: str
    normalised: bool = False

    def normalise(self, **fused: Any) -> None:
        """Normalises and casts, in one kernel with the crop and flip that `fused` may hold."""
        from nvidia.dali import fn, types

        self.images = fn.crop_mirror_normalize(
            self.images,
            mean=self.mean,
            std=self.std,
            dtype=getattr(types, self.dtype),
            output_layout="HWC",
            **fused,
        )
        self.normalised = True


@dataclass(frozen=True, kw_only=True)
class Way:
    """How DALI does one op.

    Args:
        draw: (op, size, count, generator) to its parameters: a CPU tensor with a row a sample.
        add: (op, graph, node with the parameters); extends the graph.
    """

    draw: Callable[[Any, tuple[int, int], int, torch.Generator], Tensor]
    add: Callable[[Any, Graph, Any], None]


def draw_crop(op: Crop, size: tuple[int, int], count: int, generator: torch.Generator) -> Tensor:
    """First row and column of the crop, relative to the image: int32 (count, 2) in -pad..pad."""
    high = 2 * op.pad + 1
    offset_B2 = torch.randint(0, high, (count, 2), generator=generator, dtype=torch.int32)
    return offset_B2 - op.pad


def add_crop(op: Crop, graph: Graph, start: Any) -> None:
    """A slice that reads past the edges."""
    from nvidia.dali import fn

    policy = "reflect_101" if op.padding == "reflect" else "pad"
    black = [-m / s for m, s in zip(graph.mean, graph.std, strict=True)]
    graph.images = fn.slice(
        graph.images,
        start=start,
        shape=list(graph.size),
        axis_names="HW",
        out_of_bounds_policy=policy,
        fill_values=black if graph.normalised else 0,
    )


def draw_flip(
    op: HorizontalFlip, size: tuple[int, int], count: int, generator: torch.Generator
) -> Tensor:
    """1 for samples to mirror: int32 (count,)."""
    return (torch.rand(count, generator=generator) < op.p).to(torch.int32)


def add_flip(op: HorizontalFlip | AlternatingFlip, graph: Graph, mirror: Any) -> None:
    """Mirrors; normalises in the same kernel if nothing has before."""
    from nvidia.dali import fn

    if graph.normalised:
        graph.images = fn.flip(graph.images, horizontal=mirror, vertical=0)
    else:
        graph.normalise(mirror=mirror)


def draw_cutout(
    op: Cutout, size: tuple[int, int], count: int, generator: torch.Generator
) -> Tensor:
    """First row and column of the square: float32 (count, 2) of whole numbers."""
    most = torch.tensor(size) - op.size + 1
    return (torch.rand(count, 2, generator=generator) * most).floor()


def add_cutout(op: Cutout, graph: Graph, anchor: Any) -> None:
    """Erases after normalisation, where the mean is zero."""
    from nvidia.dali import fn

    if op.size > min(graph.size):
        raise ValueError(f"Cutout of {op.size} pixels does not fit images of {graph.size}")
    if not graph.normalised:
        graph.normalise()
    side = float(op.size)
    graph.images = fn.erase(
        graph.images, anchor=anchor, shape=[side, side], axis_names="HW", fill_value=0.0
    )


def draw_nothing(op: Op, size: tuple[int, int], count: int, generator: torch.Generator) -> Tensor:
    """Never called: seed and epoch decide."""
    raise AssertionError(f"{type(op).__name__} draws nothing")


# DALI's policies of these names are not RandAugment, TrivialAugment and AutoAugment as declared:
# moves by parts of a pixel, equalize as OpenCV has it, sharpness that smooths the edge pixels too,
# contrast about a mean without rounding, solarize from 256 on, and for CIFAR-10 magnitudes from 0.1
# to 1.9 without signs.
WAYS: dict[type[Op], Way] = {
    Crop: Way(draw=draw_crop, add=add_crop),
    HorizontalFlip: Way(draw=draw_flip, add=add_flip),
    AlternatingFlip: Way(draw=draw_nothing, add=add_flip),
    Cutout: Way(draw=draw_cutout, add=add_cutout),
}


class DaliPipeline(Pipeline):
    """Feeds a DALI graph with gathered batches and draws, `PREFETCH` batches ahead."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, DALI.semantics(request.augmentation))
        self._images_NHWC = request.images.images.to(request.device).contiguous()
        self._labels_N = request.images.labels.to(request.device)
        self._ops = tuple(request.augmentation.ops)
        self._pipe: Any = build_graph(self._ops, request)
        self._fed: deque[list[Any]] = deque(maxlen=PREFETCH + 2)  # DALI reads without copying
        self._start()

    def epoch(self, index: int) -> Iterator[Batch]:
        request = self.request
        order = self.permutation(index).to(request.device)
        generator = torch.Generator().manual_seed(derive_seed(request.seed, "draws", index))
        flipped_N = flipped(request, index).to(torch.int32)
        scheduled = taken = 0
        try:
            for step, index_B in enumerate(order):
                while scheduled < min(step + PREFETCH, len(order)):
                    self._schedule(order[scheduled], generator, flipped_N)
                    scheduled += 1
                x_BCHW = self._take()
                taken += 1
                yield x_BCHW, self._labels_N[index_B]
        finally:
            # An epoch that is cut off leaves batches in the queue, which the next must not see.
            for _ in range(scheduled - taken if self._pipe is not None else 0):
                self._take()

    def _start(self) -> None:
        """Fills the queue once and empties it: the first run takes several batches, others one."""
        generator = torch.Generator().manual_seed(0)
        first_B = torch.arange(self.request.batch_size, device=self.request.device)
        for _ in range(PREFETCH):
            self._feed(first_B, generator, torch.zeros(len(self._labels_N), dtype=torch.int32))
        self._pipe.schedule_run()
        for _ in range(PREFETCH):
            self._take()

    def _schedule(self, index_B: Tensor, generator: torch.Generator, flipped_N: Tensor) -> None:
        self._feed(index_B, generator, flipped_N)
        self._pipe.schedule_run()

    def _feed(self, index_B: Tensor, generator: torch.Generator, flipped_N: Tensor) -> None:
        size = self.request.images.image_size
        draws = [
            flipped_N[index_B.cpu()]
            if isinstance(op, AlternatingFlip)
            else WAYS[type(op)].draw(op, size, len(index_B), generator)
            for op in self._ops
        ]
        fed = [_array(self._images_NHWC[index_B]), *map(_array, draws)]
        for name, array in enumerate(fed):
            self._pipe.feed_input(str(name), array, layout="HWC" if name == 0 else "")
        self._fed.append(fed)

    def _take(self) -> Tensor:
        stream = torch.cuda.current_stream() if self.request.device.type == "cuda" else None
        (found,) = self._pipe.share_outputs(stream)
        x_BHWC: Tensor = from_dlpack(found.as_tensor())
        self._pipe.release_outputs()
        x_BCHW = x_BHWC.permute(0, 3, 1, 2).to(self.request.dtype)
        return x_BCHW.contiguous(memory_format=self.request.memory_format)

    def close(self) -> None:
        self._pipe = None


def build_graph(ops: Sequence[Op], request: Request) -> Any:
    """The DALI pipeline that carries out `ops`; inputs are named "0" (images), "1", "2", …"""
    from nvidia.dali import Pipeline as DaliGraph
    from nvidia.dali import fn

    gpu = request.device.type == "cuda"
    pipe = DaliGraph(
        batch_size=request.batch_size,
        num_threads=THREADS,
        device_id=(request.device.index or 0) if gpu else None,
        prefetch_queue_depth=PREFETCH,
    )
    with pipe:
        graph = Graph(
            images=fn.external_source(name="0", device="gpu" if gpu else "cpu", no_copy=True),
            size=request.images.image_size,
            mean=[255.0 * value for value in request.images.mean],
            std=[255.0 * value for value in request.images.std],
            dtype=DTYPES.get(request.dtype, "FLOAT"),
        )
        for name, op in enumerate(ops, start=1):
            parameters = fn.external_source(name=str(name), no_copy=True)
            WAYS[type(op)].add(op, graph, parameters)
        if not graph.normalised:
            graph.normalise()
        pipe.set_outputs(graph.images)
    pipe.build()
    return pipe


def _array(tensor: Tensor) -> Any:
    """What DALI takes without asking for a driver: a CPU tensor as an array."""
    return tensor if tensor.is_cuda else tensor.numpy()


def problem(mode: str, device: str) -> str:
    """Why it cannot run on a device type."""
    if find_spec("nvidia") is None or find_spec("nvidia.dali") is None:
        return "dali is not installed: pip install nvidia-dali-cuda130 (Linux on x86-64 only)"
    return ""


DALI = Library(
    name="dali",
    why="NVIDIA's pipeline engine with fused kernels of its own, outside of torch.",
    build=DaliPipeline,
    ops=dict.fromkeys(WAYS, "per sample"),
    problem=problem,
    reference="https://github.com/NVIDIA/DALI",
)
