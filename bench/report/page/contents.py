"""What one group's page is made of: its records, figures, answers and conclusions."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from bench.record import Record
from bench.report.answers import Answer, answers
from bench.report.conclusions import conclude
from bench.report.figures import Picture, draw
from bench.report.statistics.effects import as_files, effects
from bench.store.artifacts import example_name, kept_examples
from bench.store.groups import Group
from bench.store.loaders_record import LoadersRecord, read_loaders
from bench.store.store import Store
from bench.text import Log

HEAD = 4096  # characters of a page that hold its checksum

_CHECKSUM = re.compile(r'<meta name="made-of" content="([0-9a-f]{64})">')


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a page shows of one group."""

    group: Group
    records: Sequence[Record]
    loaders: LoadersRecord | None = None
    answers: Sequence[Answer] = ()
    conclusions: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by section
    pictures: Sequence[Picture] = ()
    effects: Mapping[str, bytes] = field(default_factory=dict)  # as files, by name
    examples: Mapping[tuple[str, str], bytes] = field(default_factory=dict)
    """(augmentation, pipeline) to a PNG of augmented training images."""


def gather(group: Group, records: Sequence[Record], log: Log) -> Content:
    """Draws conclusions and figures from `records`, and reads the rest from the group's folder.

    Raises:
        StoreError: A file in the folder cannot be read.
    """
    store = Store(group.folder)
    kept = kept_examples(store)
    loaders = read_loaders(group.folder)
    reference = "the reference " if group.reference else ""
    log(f"reading {reference}{group.name}: {len(records)} records")
    measured = effects(records)
    return Content(
        group=group,
        records=records,
        loaders=loaders,
        answers=answers(records, loaders=loaders),
        conclusions=conclude(records, measured),
        pictures=draw(records, loaders, measured, reference=group.reference),
        effects=as_files(measured),
        examples={
            (cell.augmentation, cell.pipeline): kept[example_name(cell)]
            for cell in (record.cell for record in records)
            if example_name(cell) in kept
        },
    )


def checksum(groups: Iterable[tuple[Sequence[Record], LoadersRecord | None]]) -> str:
    """A hash of the records and the loaders' measurements of each group of a page."""
    digest = hashlib.sha256()
    for records, loaders in groups:
        for record in records:
            digest.update(f"{record.run_id} {record.content_hash}\n".encode())
        digest.update(msgspec.json.encode(loaders, enc_hook=str) + b"\n")
    return digest.hexdigest()


def read_checksum(page: str) -> str:
    """The checksum that a page was made with; "" if it has none."""
    match = _CHECKSUM.search(page[:HEAD])
    return match[1] if match else ""
