"""Scores as ratios of what a confusion matrix counts; without torch, for readers of records too."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True, kw_only=True)
class OfClass:
    """What was counted of one class."""

    right: int
    images: int
    guesses: int

    @property
    def precision(self) -> float:
        """Share of the guesses that are right; 0 of none."""
        return _share(self.right, self.guesses)

    @property
    def recall(self) -> float:
        """Share of the images that are found; 0 of none."""
        return _share(self.right, self.images)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return _share(2 * self.right, self.images + self.guesses)


def of_classes(counts: Sequence[Sequence[int]]) -> list[OfClass]:
    """What a confusion matrix says of each class."""
    guesses = [sum(column) for column in zip(*counts, strict=True)]
    return [
        OfClass(right=row[label], images=sum(row), guesses=guesses[label])
        for label, row in enumerate(counts)
    ]


def macro(score: str, classes: Sequence[OfClass]) -> float:
    """Mean of a score over the classes; one without images and guesses does not count."""
    found = [getattr(one, score) for one in classes if one.images or one.guesses]
    return fmean(found) if found else 0.0


def accuracy(classes: Sequence[OfClass]) -> float:
    """Share of all images that are right."""
    return _share(sum(one.right for one in classes), sum(one.images for one in classes))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


__all__ = ["OfClass", "accuracy", "macro", "of_classes"]
