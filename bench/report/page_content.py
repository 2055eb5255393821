"""What one group's page is made of, gathered from its folder and its records."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.examples import example_name, kept_examples
from bench.groups import Group
from bench.record import Record
from bench.report.loaders_reading import read
from bench.report.mistakes import Mistakes, find
from bench.store import Store

if TYPE_CHECKING:
    from bench.loader_record import LoadersRecord
    from bench.report.conclusions import Conclusion
    from bench.report.figures import Picture


@dataclass(frozen=True, kw_only=True)
class Content:
    """One group.

    Args:
        group: Its folder.
        records: Those to show.
        loaders: What `bench loaders` found there, or None.
        conclusions: What follows from the records.
        pictures: What is drawn of them.
        mistakes: The test images most often mistaken.
        examples: (augmentation, pipeline) to a PNG of augmented training images.
    """

    group: Group
    records: Sequence[Record]
    loaders: "LoadersRecord | None" = None
    conclusions: Sequence["Conclusion"] = ()
    pictures: Sequence["Picture"] = ()
    mistakes: Mistakes = field(default_factory=Mistakes)
    examples: Mapping[tuple[str, str], bytes] = field(default_factory=dict)


def gather(
    group: Group,
    records: Sequence[Record],
    *,
    data_dir: Path | None = None,
    report: Callable[[str], None],
) -> Content:
    """Concludes, draws, and reads what lies in the group's folder.

    Args:
        group: Its folder.
        records: Those of its records to show.
        data_dir: Where sources are cached, for pictures of images most often mistaken.
        report: Gets lines about progress.

    Raises:
        StoreError: A file in the folder cannot be read.
    """
    from bench.report.conclusions import conclude
    from bench.report.figures import draw

    store = Store(group.folder)
    loaders = read(group.folder)
    report(f"{group.name}: {len(records)} records")
    return Content(
        group=group,
        records=records,
        loaders=loaders,
        conclusions=conclude(records),
        pictures=draw(records, loaders),
        mistakes=find(store, records, data_dir),
        examples=_examples(store, records),
    )


def _examples(store: Store, records: Sequence[Record]) -> dict[tuple[str, str], bytes]:
    """The strips of the policies and pipelines that these records are of."""
    kept = kept_examples(store)
    cells = [record.cell for record in records if example_name(record.cell) in kept]
    return {(cell.augmentation, cell.pipeline): kept[example_name(cell)] for cell in cells}


__all__ = ["Content", "gather"]
