"""Parses a pipeline's name ("torchvision[workers=4]") and builds the pipeline."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import torch

from pipelines import augmentations, ops, options, shared_memory
from pipelines.augmentations import Augmentation
from pipelines.base import OWN, Library, Pipeline, Request, Semantics, Unsupported
from pipelines.catalog import Catalog, Unavailable
from pipelines.evaluation import EvaluationPipeline
from pipelines.sources.base import Images

catalog = Catalog(package="pipelines", entry_type=Library, noun="pipeline")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A library with one mode and a value for each of its options."""

    library: Library
    mode: str
    options: Mapping[str, int]

    @property
    def name(self) -> str:
        """The canonical name; see `options.canonical`."""
        return options.canonical(self.library, self.mode, self.options)

    def semantics(self, augmentation: Augmentation) -> Semantics:
        """As `Library.semantics`, in this mode."""
        return self.library.semantics(augmentation, self.mode)


def parse(spelling: str) -> Variant:
    """Parses a name into a variant, with defaults filled in.

    Raises:
        UnknownName: No such pipeline.
        Unavailable: It can't be imported.
        ValueError: An unknown mode or option, or an invalid value.
    """
    library = catalog.get(options.split(spelling)[0])
    mode, chosen = options.read(library, spelling)
    return Variant(library=library, mode=mode, options=chosen)


def can_be_spelled(name: str) -> bool:
    """Whether `parse` accepts a library of that name."""
    with suppress(ValueError):
        return options.split(name)[0] == name
    return False


def canonical_name(spelling: str) -> str:
    """The canonical name of a variant; raises as `parse` does."""
    return parse(spelling).name


def reads(spelling: str, images: Images) -> Literal["array", "files"]:
    """Whether the pipeline reads an array of decoded images in each epoch, or decodes files."""
    return "files" if images.files and parse(spelling).library.decodes else "array"


def variants(settings: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """Names of every mode of every pipeline that can be imported, except `OWN`.

    Args:
        settings: The options to list for some libraries: {"torchvision": ["workers=0", ""]}, where
            "" means the defaults. Other libraries are listed with their defaults.
    """
    settings = settings or {}
    found = []
    for library in catalog.entries.values():
        for mode in [mode for mode in library.modes if mode != OWN] or ("",):
            for setting in settings.get(library.name, ("",)):
                inside = ",".join(filter(None, (mode, setting)))
                found.append(f"{library.name}[{inside}]" if inside else library.name)
    return found


def own_variants(augmentation: Augmentation) -> list[str]:
    """Names of the pipelines that run an op of the policy by their library's own definition."""
    kinds = {type(op) for op in augmentation.ops}
    libraries = catalog.entries.values()
    return [f"{library.name}[{OWN}]" for library in libraries if kinds & set(library.own)]


def unfit(variant: Variant, augmentation: Augmentation, images: Images, batch_size: int) -> str:
    """Why a variant can't make batches of a policy from such images; "" if it can."""
    need = variant.library.shared_bytes(images, batch_size, variant.options)
    return (
        ops.problem(augmentation.ops, images.image_size)
        or variant.library.unfit(images, batch_size, variant.options)
        or shared_memory.problem(need, variant.name)
    )


def build(
    pipeline: str,
    images: Images,
    augmentation: str | Augmentation,
    *,
    batch_size: int,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.channels_last,
    seed: int = 0,
    training: bool = True,
) -> Pipeline:
    """Builds a pipeline over `images`.

    Args:
        pipeline: A name, optionally with mode and options: "native", "kornia[compiled]".
        images: One of the sets returned by `load`.
        augmentation: A policy or its name.
        device, dtype, memory_format: Of the batches.
        seed: Equal seeds give equal batches.
        training: False for the evaluation path that all pipelines share: no augmentation, the
            source's order, including the last partial batch.

    Raises:
        UnknownName: No pipeline or policy of that name.
        Unavailable: The pipeline's library can't be used here.
        Unsupported: The library lacks an op of the policy, the ops don't fit the images or each
            other, or there is too little shared memory.
        ValueError: An unknown option, or a batch larger than the set.
    """
    variant = parse(pipeline)
    if isinstance(augmentation, str):
        augmentation = augmentations.catalog.get(augmentation)
    if batch_size < 1:
        raise ValueError(f"batch_size is at least 1, got {batch_size}")
    if training and batch_size > len(images):
        raise ValueError(f"batch_size {batch_size} is larger than the set of {len(images)} images")
    request = Request(
        images=images,
        augmentation=augmentation,
        batch_size=batch_size,
        device=torch.device(device),
        dtype=dtype,
        memory_format=memory_format,
        seed=seed,
        mode=variant.mode,
        options=variant.options,
    )
    variant.semantics(augmentation)
    if training and (reason := unfit(variant, augmentation, images, batch_size)):
        raise Unsupported(reason)
    problem = variant.library.problem(variant.mode, request.device.type) if training else ""
    if problem:
        raise Unavailable(problem)
    return variant.library.build(request) if training else EvaluationPipeline(request)
