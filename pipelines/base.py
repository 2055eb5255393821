"""The interface of pipelines and the code they share.

A pipeline turns `Images` and an augmentation into batches on the training device. The suite sets
the order of samples: equal seeds give every pipeline the same permutation, so pipelines differ only
in how they do the work.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

from pipelines.augmentations import Augmentation
from pipelines.ops import Op
from pipelines.sources.base import Images

Batch = tuple[Tensor, Tensor]
Draws = Literal["per sample", "per batch"]
OWN = "own"  # the mode of `kornia[own]`, with ops by the library's own definition


class Unsupported(RuntimeError):
    """A pipeline lacks an op, or can't make such batches; the message says why."""


class BrokenPromise(AssertionError):
    """A pipeline does not deliver what it must; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of a pipeline.

    Args:
        device, dtype, memory_format: Of the batches.
        seed: Equal seeds give equal batches.
        mode: "compiled" for `kornia[compiled]`.
        options: `{"workers": 4}` for `torchvision[workers=4]`.
    """

    images: Images
    augmentation: Augmentation
    batch_size: int
    device: torch.device
    dtype: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.channels_last
    seed: int = 0
    mode: str = ""
    options: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OwnOp:
    """A library's op of the same name as ours, with another definition.

    Args:
        differs: How it differs from our definition, in words.
        draws: "per batch" if all images of a batch share a draw.
    """

    differs: str
    draws: Draws = "per sample"


@dataclass(frozen=True, kw_only=True)
class Semantics:
    """How a pipeline draws the parameters of each op; "per batch" is a weaker augmentation.

    Args:
        draws: By op.
        differs: How an op differs from our definition, in words, for each that does. Results with
            such ops are never ranked with others.
    """

    draws: Mapping[str, Draws]
    differs: Mapping[str, str] = field(default_factory=dict)

    @property
    def per_sample(self) -> bool:
        """Whether every op draws its parameters per sample."""
        return all(draw == "per sample" for draw in self.draws.values())


class Cursor(Protocol):
    """A position in a pipeline's epochs, kept on the device."""

    @property
    def generators(self) -> Sequence[torch.Generator]:
        """The generators it uses besides the device's default generator."""
        ...

    def prepare(self, index: int) -> None:
        """Does the host's part of `begin(index)` early, while the device is busy."""
        ...

    def begin(self, index: int) -> None:
        """Moves to the start of epoch `index`; may use the host."""
        ...

    def next(self) -> Batch:
        """Returns the current batch and moves to the next; the first batch follows the last.

        Uses only operations that a CUDA graph can capture.
        """
        ...


class Pipeline(ABC):
    """Training batches of one policy from one library.

    Subclasses yield batches in the order of `permutation(epoch)`, each sample once, without the
    last partial batch. `epoch(i)` depends only on the seed and `i`, not on earlier epochs.
    """

    def __init__(self, request: Request, semantics: Semantics) -> None:
        self.request = request
        self.semantics = semantics
        self.steps_per_epoch = len(request.images) // request.batch_size

    @abstractmethod
    def epoch(self, index: int) -> Iterator[Batch]:
        """Batches of epoch `index`: images (B, C, H, W) normalised, labels int64 (B,).

        Labels are (B, classes) float32 when the policy mixes images.
        """

    def cursor(self) -> "Cursor | None":
        """A cursor over the batches of `epoch`; None if making them needs the host."""
        return None

    def close(self) -> None:  # noqa: B027 - most pipelines have nothing to free
        """Frees workers and device memory; safe to call twice."""

    def permutation(self, index: int) -> Tensor:
        """The samples of epoch `index` in order: int64 (steps_per_epoch, batch_size) on the CPU."""
        request = self.request
        generator = torch.Generator().manual_seed(derive_seed(request.seed, "order", index))
        order = torch.randperm(len(request.images), generator=generator)
        used = self.steps_per_epoch * request.batch_size
        return order[:used].view(self.steps_per_epoch, request.batch_size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True, kw_only=True)
class Library:
    """A pipeline as a catalog entry: a library, its ops, and how to build it.

    Args:
        name: Name on the command line ("kornia").
        why: One sentence on what it is for, shown by `bench list`.
        build: Builds the pipeline; only called if `ops` covers the policy.
        ops: Its op types and how it draws their parameters.
        own: The ops that it defines differently, which its mode `OWN` runs.
        plugin_ops: Its key in the `implementations` of a plugin's ops; "" if it takes none.
        plugin_draws: How it draws the parameters of a plugin's ops.
        modes: Its modes ("kornia[compiled]"); the first is the default.
        options: Its integer options ("torchvision[workers=4]"), with defaults; a default of 0
            leaves the choice to the pipeline, and isn't part of a variant's name.
        problem: (mode, device type) to the reason why it can't run here; "" if it can.
        replays: Whether its pipelines have a `cursor` over arrays, so that a CUDA graph can produce
            the batches.
        decodes: Whether it decodes `Images.files`, if any, in each epoch instead of reading the
            array of decoded images.
        shared_bytes: (images, batch size, options) to the most shared memory that batches from its
            worker processes take.
        unfit: (images, batch size, options) to the reason why it can't read such images with such
            options; "" if it can. Must be fast.
        install: What pip installs for it, if users choose to; the default grid does without it.
        reference: Home page of the library.
        version: Raised when its output changes, so that old results are not reused.
    """

    name: str
    why: str
    build: Callable[[Request], Pipeline]
    ops: Mapping[type[Op], Draws]
    own: Mapping[type[Op], OwnOp] = field(default_factory=dict)
    plugin_ops: str = ""
    plugin_draws: Draws = "per sample"
    modes: tuple[str, ...] = ()
    options: Mapping[str, int] = field(default_factory=dict)
    problem: Callable[[str, str], str] = lambda mode, device: ""
    replays: bool = False
    decodes: bool = False
    shared_bytes: Callable[[Images, int, Mapping[str, int]], int] = lambda *_: 0
    unfit: Callable[[Images, int, Mapping[str, int]], str] = lambda *_: ""
    install: str = ""
    reference: str = ""
    version: int = 1

    def semantics(self, augmentation: Augmentation, mode: str = "") -> Semantics:
        """How this library in a mode draws for each op of `augmentation`, and what differs.

        Raises:
            Unsupported: It lacks one of the ops.
        """
        draws: dict[str, Draws] = {}
        differs: dict[str, str] = {}
        for op in augmentation.ops:
            kind, name = type(op), type(op).__name__
            if kind in self.own and mode == OWN:
                draws[name], differs[name] = self.own[kind].draws, self.own[kind].differs
            elif kind in self.own:
                raise Unsupported(
                    f"{self.name} has no {name} by this suite's definition, but "
                    f"{self.name}[{OWN}] runs its own"
                )
            elif kind not in self.ops and self.plugin_ops not in op.implementations:
                raise Unsupported(f"{self.name} has no {name}")
            else:
                draws[name] = self.ops.get(kind, self.plugin_draws)
        return Semantics(draws=draws, differs=differs)


def derive_seed(seed: int, *stream: str | int) -> int:
    """A seed for one independent stream of random numbers, in 0..2**63-1."""
    text = ":".join(str(part) for part in (seed, *stream))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def flipped(request: Request, index: int) -> Tensor:
    """Mask (N,) on the CPU of the images that an alternating flip mirrors in epoch `index`."""
    generator = torch.Generator().manual_seed(derive_seed(request.seed, "alternating flip"))
    starts = torch.randint(0, 2, (len(request.images),), generator=generator)
    return (starts + index) % 2 == 1


class Normaliser:
    """Reference normalisation, with mean and deviation of a source kept on a device."""

    def __init__(self, images: Images, device: torch.device) -> None:
        self._mean_C = torch.tensor(images.mean, device=device) * 255.0
        self._std_C = torch.tensor(images.std, device=device) * 255.0

    def __call__(
        self,
        images_BHWC: Tensor,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> Tensor:
        """Images uint8 (B, H, W, C) to (B, C, H, W)."""
        x_BHWC = (images_BHWC.to(torch.float32) - self._mean_C) / self._std_C
        return x_BHWC.permute(0, 3, 1, 2).to(dtype).contiguous(memory_format=memory_format)


def normalise(
    images_BHWC: Tensor,
    images: Images,
    dtype: torch.dtype,
    memory_format: torch.memory_format = torch.channels_last,
) -> Tensor:
    """`Normaliser` for a single call; on a GPU, each call copies mean and deviation there."""
    return Normaliser(images, images_BHWC.device)(images_BHWC, dtype, memory_format)
