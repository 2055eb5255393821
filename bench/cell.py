"""A cell: one point of a grid, with everything that can change what a run gives."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from bench.recipe import Recipe

Scale = Literal["full", "cpu"]
Protocol = Literal["validation", "speedrun"]
Precision = Literal["fp32", "bf16"]
Version = int | str
EVAL_VIEWS = (1, 2, 6)
OF = " of "  # between an entry's version and where it comes from
AXES = ("architecture", "optimizer", "augmentation", "pipeline")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One point of a grid.

    Args:
        architecture: Entry name.
        optimizer: Entry name.
        augmentation: Entry name.
        pipeline: Canonical spelling: "kornia[compiled]".
        source: "cifar10", "cifar100", "shapes" or "folder:PATH".
        scale: How large the cell is; a table never mixes two.
        device: "cuda" or "cpu".
        epochs: Passes over the training images.
        batch_size: Images per step; never changed behind the user's back.
        width: Channel multiplier of the net.
        train_images: Training images used at most, a stratified part; None for all.
        validation_images: Likewise.
        test_images: Likewise.
        precision: "bf16" is automatic mixed precision.
        compile: Whether the net runs under torch.compile.
        target_accuracy: Validation accuracy that time to accuracy refers to.
        eval_views: Views of each test image that are averaged: 1 (as it is), 2 (and mirrored) or 6
            (and both moved by a pixel up-left and down-right, weighing as much as the first two).
        recipe: What the optimizer is set to; None for its own defaults, as in old records.
        protocol: "validation" holds out a part of the training set; "speedrun" trains on all of
            it and looks at the test set at the end only, as the speed records do.
    """

    architecture: str
    optimizer: str
    augmentation: str
    pipeline: str
    source: str = "cifar10"
    scale: Scale = "full"
    device: str = "cuda"
    epochs: int
    batch_size: int
    width: float = 1.0
    train_images: int | None = None
    validation_images: int | None = None
    test_images: int | None = None
    precision: Precision = "fp32"
    compile: bool = False
    target_accuracy: float = 0.9
    protocol: Protocol = "validation"
    eval_views: int = 1
    recipe: Recipe | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not 0 < self.width <= 16:
            raise ValueError(
                f"a cell needs epochs >= 1, batch_size >= 1 and 0 < width <= 16, "
                f"got {self.epochs}, {self.batch_size} and {self.width}"
            )
        if not 0 < self.target_accuracy <= 1:
            raise ValueError(f"target_accuracy lies in (0, 1], got {self.target_accuracy}")
        if self.eval_views not in EVAL_VIEWS:
            raise ValueError(f"eval_views is one of {EVAL_VIEWS}, got {self.eval_views}")
        for name in ("width", "target_accuracy"):  # 1 and 1.0 are equal cells: one id for both
            if type(getattr(self, name)) is not float:
                object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def holds_out(self) -> bool:
        """Whether there are validation images, by which alone a target is seen to be reached."""
        return self.protocol == "validation"

    @property
    def identity(self) -> "Cell":
        """Without what people wrote down about its recipe, which changes no outcome."""
        if self.recipe is None:
            return self
        return replace(self, recipe=replace(self.recipe, origin=""))

    @property
    def name(self) -> str:
        """What -k matches and people read: "resnet18/sgd/flip_crop/kornia"."""
        return f"{self.architecture}/{self.optimizer}/{self.augmentation}/{self.pipeline}"

    @property
    def model_key(self) -> str:
        """Cells with equal keys share a compiled model."""
        if not self.compile:
            return ""
        parts = (self.architecture, self.width, self.batch_size, self.precision, self.source)
        return "/".join(map(str, (*parts, self.device)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One cell with one seed: the unit that is trained and recorded.

    Args:
        cell: What to train.
        seed: Of weights, order and augmentation.
        versions: Entry versions by kind ("architecture", "pipeline", ...). An entry from outside
            has a text that names its source and the digest of it: "1 of mine.py 0123456789abcdef".
        fingerprint: Names the source's images.
    """

    cell: Cell
    seed: int
    versions: dict[str, Version] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def id(self) -> str:
        """16 hexadecimal digits over every field that can change the outcome."""
        canonical = msgspec.json.encode(
            replace(self, cell=self.cell.identity), order="deterministic"
        )
        return hashlib.sha256(canonical).hexdigest()[:16]

    @property
    def plugins(self) -> tuple[str, ...]:
        """Where its entries come from, "mine.py 0123456789abcdef"; none of the suite's own."""
        return plugins_of(self.versions)

    @property
    def worker_key(self) -> tuple[str, ...]:
        """Runs with equal keys share a worker: no plugin is imported beside cells without it."""
        return (self.cell.model_key, *self.plugins)

    @property
    def name(self) -> str:
        """The cell's name with the seed."""
        return f"{self.cell.name}/seed{self.seed}"


def version_of(number: int, origin: str) -> str:
    """The version of an entry from outside."""
    return f"{number}{OF}{origin}"


def number_of(version: Version) -> str:
    """The number in a version, as text: what a record says has been checked by nobody."""
    return str(version).partition(OF)[0]


def plugins_of(versions: Mapping[str, Version]) -> tuple[str, ...]:
    """The origins of entries from outside, by their versions."""
    said = {version.partition(OF)[2] for version in versions.values() if isinstance(version, str)}
    return tuple(sorted(said))
