"""What the cells of a grid have in common: source, device, and the budget of their scale."""

from dataclasses import dataclass, field, replace
from typing import Any

import architectures
from bench.cell import Cell, Precision, Protocol, Scale
from bench.grid.recipe_files import Book
from pipelines.building import canonical_name
from pipelines.catalog import Unavailable, UnknownName


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How large a cell is at one scale; the fields are those of `Cell`."""

    epochs: int
    batch_size: int
    width: float
    train_images: int | None
    validation_images: int | None
    test_images: int | None
    target_accuracy: float


BUDGETS: dict[Scale, Budget] = {
    "full": Budget(
        epochs=16,
        batch_size=512,
        width=1.0,
        train_images=None,
        validation_images=None,
        test_images=None,
        target_accuracy=0.90,
    ),
    "cpu": Budget(
        epochs=3,
        batch_size=64,
        width=0.125,
        train_images=896,
        validation_images=400,
        test_images=1000,
        target_accuracy=0.25,
    ),
}


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """What all cells of a grid have in common."""

    source: str
    scale: Scale
    device: str
    precision: Precision
    compile: bool
    budget: Budget
    protocol: Protocol = "validation"
    eval_views: int = 1
    book: Book = field(default_factory=lambda: Book(entries={}))

    def cell(self, architecture: str, optimizer: str, augmentation: str, pipeline: str) -> Cell:
        """One cell under this setting, with the recipe that there is for its net and optimizer."""
        budget = self.budget
        try:
            recipe, batch_size = self.book.find(architecture, optimizer, budget.batch_size)
        except Unavailable:  # its cells are skipped with the reason
            recipe, batch_size = None, budget.batch_size
        return Cell(
            architecture=architecture,
            optimizer=optimizer,
            augmentation=augmentation,
            pipeline=_spelled(pipeline),
            source=self.source,
            scale=self.scale,
            device=self.device,
            epochs=budget.epochs,
            batch_size=batch_size,
            width=self.width_of(architecture),
            train_images=budget.train_images,
            validation_images=budget.validation_images,
            test_images=budget.test_images,
            precision=self.precision,
            compile=self.compile,
            target_accuracy=budget.target_accuracy,
            protocol=self.protocol,
            eval_views=self.eval_views,
            recipe=recipe,
        )

    def width_of(self, architecture: str) -> float:
        """The budget's width; 1 for a net that has no multiplier."""
        try:
            scales = architectures.get(architecture).scales
        except (Unavailable, UnknownName):  # told, or skipped, where the cell is looked at
            scales = True
        return self.budget.width if scales else 1.0

    def of(self, **changes: Any) -> "GridConfig":
        """The same with other fields of the budget: `setting.of(epochs=5)`."""
        return replace(self, budget=replace(self.budget, **changes))


def _spelled(pipeline: str) -> str:
    """The canonical spelling; as it is for a pipeline that cannot be used, whose cells are skipped.

    Raises:
        UnknownName: No such pipeline.
    """
    try:
        return canonical_name(pipeline)
    except Unavailable:
        return pipeline
