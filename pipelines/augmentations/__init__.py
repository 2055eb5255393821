"""Augmentation policies: named lists of ops, one file each."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.catalog import Catalog
from pipelines.ops import Op


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """An augmentation policy, independent of any library.

    Args:
        ops: Its ops, first to last.
        name: Name on the command line; "custom" if unnamed.
        why: One sentence on what it is for, shown by `bench list`.
        reference: Paper or code it follows.
        default: Whether the default grid uses it.
        version: Raised when the meaning changes, so that old results are not reused.
    """

    ops: Sequence[Op]
    name: str = "custom"
    why: str = ""
    reference: str = ""
    default: bool = False
    version: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "ops", tuple(self.ops))
        for op in self.ops:
            if not isinstance(op, Op):
                raise TypeError(f"augmentation {self.name!r} holds {op!r}, which is not an op")


catalog = Catalog(package="pipelines.augmentations", entry_type=Augmentation, noun="augmentation")
