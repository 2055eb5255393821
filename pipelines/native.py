"""Plain tensor operations on the training device: one fused gather, no data loader."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import torch
from torch import Tensor

from pipelines.base import Batch, Library, Pipeline, Request, Semantics, derive_seed, flipped
from pipelines.batch_memory import BatchMemory
from pipelines.compiling import compiler_problem
from pipelines.decoding import Reader, decoder, unfit
from pipelines.native_ops import mixes, moves
from pipelines.native_ops.kernels import EDITS, Program, draws_of, edit_of, kernels
from pipelines.ops import AlternatingFlip
from pipelines.options import DEVICE_READER_OPTIONS

COMPILED = "compiled"


class NativePipeline(Pipeline):
    """Applies the kernels to the source on the device, or to the batches of a reader.

    Args:
        semantics: Those of the library; by default `NATIVE`'s.
        reader: Reads the images of each epoch; by default a `Decoder` if the source has files, and
            nothing otherwise, as the source is on the device.
    """

    def __init__(
        self, request: Request, semantics: Semantics | None = None, reader: Reader | None = None
    ) -> None:
        super().__init__(request, semantics or NATIVE.semantics(request.augmentation))
        if reader is None and request.images.files:
            reader = decoder(request)
        self._reader = reader
        self._images_NHWC = torch.empty(0, dtype=torch.uint8)
        if reader is None:
            self._images_NHWC = request.images.images.to(request.device).contiguous()
        self._row_B = torch.arange(request.batch_size, device=request.device)
        self._labels_N = request.images.labels.to(request.device)
        self.program = program(request, fresh=reader is not None)
        self._kernels = kernels(self.program)
        self._tables = lookups(self.program, request.device)
        shape = request.batch_size, len(request.images.mean), *request.images.image_size
        self._memory = BatchMemory(shape, request.dtype, request.memory_format)

    def epoch(self, index: int) -> Iterator[Batch]:
        cursor = NativeCursor(self)
        cursor.begin(index)
        if self._reader is None:
            for _ in range(self.steps_per_epoch):
                yield cursor.next()
            return
        with closing(self._reader.batches(self.permutation(index))) as batches:
            for images_BHWC in batches:
                yield cursor.next(images_BHWC.to(self.request.device, non_blocking=True))

    def cursor(self) -> "NativeCursor | None":
        return NativeCursor(self) if self._reader is None else None

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def batch(
        self,
        index_B: Tensor,
        u_BK: Tensor,
        generator: torch.Generator,
        images_BHWC: Tensor | None = None,
    ) -> Batch:
        """The samples at `index_B` with uniform draws `u_BK`; mixing weights come from `generator`.

        Args:
            images_BHWC: Their images, on the device, if the pipeline has a reader.
        """
        source, row_B = self._images_NHWC, index_B
        if images_BHWC is not None:
            source, row_B = images_BHWC, self._row_B
        located = self._kernels.locate(row_B, u_BK)
        to_BCHW = self._memory.take() if self.program.writes else None
        x_BCHW = self._kernels.render(to_BCHW, source, u_BK, self._tables, *located)
        labels_B = self._labels_N[index_B]
        op = self.program.mix
        if op is None:
            return x_BCHW, labels_B
        weight_B = mixes.MIXES[type(op)].weight(op, len(index_B), generator)
        x_BCHW, own_B = self._kernels.mix(x_BCHW, weight_B, u_BK)
        return x_BCHW, mixes.mixed_labels(labels_B, own_B, len(self.request.images.classes))


class NativeCursor:
    """Order, position and draws of one epoch after another, on the device."""

    def __init__(self, pipeline: NativePipeline) -> None:
        device = pipeline.request.device
        self._pipeline = pipeline
        self._prepared: tuple[int, tuple[Tensor, ...]] = (-1, ())  # an epoch and its `_on_host`
        self._order_SB = torch.empty(0)
        self._step_1 = torch.zeros(1, dtype=torch.int64, device=device)
        self._generator = torch.Generator(device)
        self._fixed = fixed_columns(pipeline.program)
        self._unless_flipped_N = torch.empty(0)

    @property
    def generators(self) -> Sequence[torch.Generator]:
        return (self._generator,)

    def prepare(self, index: int) -> None:
        self._prepared = index, self._on_host(index)

    def _on_host(self, index: int) -> tuple[Tensor, ...]:
        """The order of an epoch and, if some ops need them, its flips."""
        request = self._pipeline.request
        values = [self._pipeline.permutation(index)]
        if self._fixed:
            values.append((~flipped(request, index)).to(torch.float32))
        if request.device.type == "cuda":
            values = [value.pin_memory() for value in values]
        return tuple(values)

    def begin(self, index: int) -> None:
        request = self._pipeline.request
        prepared, values = self._prepared
        order_SB, *flips_N = values if prepared == index else self._on_host(index)
        self._prepared = (-1, ())
        self._order_SB = in_place(self._order_SB, order_SB, request.device)
        self._step_1.zero_()
        self._generator.manual_seed(derive_seed(request.seed, "draws", index))
        for unless_flipped_N in flips_N:
            self._unless_flipped_N = in_place(
                self._unless_flipped_N, unless_flipped_N, request.device
            )

    def next(self, images_BHWC: Tensor | None = None) -> Batch:
        """As `Cursor.next`; `images_BHWC` are the batch's images if a reader has read them."""
        index_B = self._order_SB.index_select(0, self._step_1)[0]
        self._step_1.add_(1).remainder_(len(self._order_SB))
        u_BK = torch.rand(
            len(index_B),
            self._pipeline.program.draws(),
            generator=self._generator,
            device=index_B.device,
        )
        for column in self._fixed:
            u_BK[:, column] = self._unless_flipped_N[index_B]
        return self._pipeline.batch(index_B, u_BK, self._generator, images_BHWC)


def in_place(memory: Tensor, values: Tensor, device: torch.device) -> Tensor:
    """Copies `values` to a device, into `memory` if they fit, as CUDA graphs need fixed memory."""
    if memory.shape != values.shape:
        return values.to(device, non_blocking=True)
    return memory.copy_(values, non_blocking=True)


def program(request: Request, *, fresh: bool = False) -> Program:
    """The program of a request; `fresh` as in `Program`."""
    ops = tuple(request.augmentation.ops)
    mixing = [op for op in ops if type(op) in mixes.MIXES]
    plain = ops[: len(ops) - len(mixing)]
    split = next((i for i, op in enumerate(plain) if type(op) not in moves.MOVES), len(plain))
    height, width = request.images.image_size
    return Program(
        leading=plain[:split],
        following=plain[split:],
        mix=mixing[0] if mixing else None,
        height=height,
        width=width,
        mean=tuple(255.0 * value for value in request.images.mean),
        std=tuple(255.0 * value for value in request.images.std),
        dtype=request.dtype,
        channels_last=request.memory_format == torch.channels_last,
        compile=request.mode == COMPILED,
        writes=request.mode == COMPILED and request.device.type == "cpu",
        fresh=fresh,
    )


def lookups(program: Program, device: torch.device) -> tuple[Tensor | None, ...]:
    """The lookup table of each following op, None if it has none."""
    tables: list[Tensor | None] = []
    for op in program.following:
        make = None if type(op) in moves.MOVES else edit_of(op).table
        size = program.height, program.width, len(program.mean)
        tables.append(None if make is None else make(op, size).to(device))
    return tuple(tables)


def fixed_columns(program: Program) -> list[int]:
    """Columns of the draws that seed and epoch determine: 0 to flip, else 1."""
    columns, start = [], 0
    for op in program.leading + program.following:
        if isinstance(op, AlternatingFlip):
            columns.append(start)
        start += draws_of(op)
    return columns


def problem(mode: str, device: str) -> str:
    """Why a mode can't run on a device type; "" if it can."""
    lacking = compiler_problem(gpu=device == "cuda") if mode == COMPILED else ""
    return f"native needs torch.compile ({lacking}); native[eager] does not" if lacking else ""


NATIVE = Library(
    name="native",
    why="Plain tensor operations on the device: one compiled gather reads, augments, normalises.",
    build=NativePipeline,
    ops=dict.fromkeys([*moves.MOVES, *EDITS, *mixes.MIXES], "per sample"),
    plugin_ops="native",
    modes=("compiled", "eager"),
    options=DEVICE_READER_OPTIONS,
    replays=True,
    problem=problem,
    decodes=True,
    unfit=unfit,
    reference="https://github.com/KellerJordan/cifar10-airbench (the idea; here as one gather)",
)
