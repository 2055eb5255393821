"""What one group's page is made of: its records, figures, conclusions, and misclassified images.

Test images are compared over the runs that saw the same ones. Their pictures come from the source
only if it is in the local cache and holds the very images that the runs saw; nothing is downloaded.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from bench.record import Metrics, Record
from bench.report.answers import Answer, answers
from bench.report.conclusions import conclude
from bench.report.figures import Picture, draw
from bench.report.statistics.effects import effects
from bench.store.artifacts import example_name, kept_examples
from bench.store.files import StoreError
from bench.store.groups import Group
from bench.store.loaders_record import LoadersRecord, read_loaders
from bench.store.predictions import Predictions
from bench.store.store import Store
from bench.text import Log

MAX_IMAGES = 24
MAX_PIXELS = 96  # of a side; larger images are scaled down
HEAD = 4096  # characters of a page that hold its checksum

_CHECKSUM = re.compile(r'<meta name="made-of" content="([0-9a-f]{64})">')


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One image and what it was taken for."""

    place: int  # number among the test images that the runs saw, from 0
    label: int  # true class
    answers: tuple[tuple[int, int], ...]  # (wrong class, runs), most frequent first
    index: int | None = None  # number in the source's whole test set, if the source is cached
    picture: bytes = b""  # PNG, if the source is cached

    @property
    def wrong(self) -> int:
        """Runs that misclassified it."""
        return sum(count for _, count in self.answers)


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """The images most often misclassified."""

    classes: tuple[str, ...] = ()  # a label is an index into them
    runs: int = 0  # that were compared
    test_images: int = 0  # that each of them was tested on
    images: tuple[Mistake, ...] = ()  # the worst first
    problem: str = ""  # why there are no pictures, or no images at all


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a page shows of one group."""

    group: Group
    records: Sequence[Record]
    loaders: LoadersRecord | None = None
    effects: pd.DataFrame | None = None
    answers: Sequence[Answer] = ()
    conclusions: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by section
    pictures: Sequence[Picture] = ()
    mistakes: Mistakes = field(default_factory=Mistakes)
    examples: Mapping[tuple[str, str], bytes] = field(default_factory=dict)
    """(augmentation, pipeline) to a PNG of augmented training images."""


def gather(
    group: Group, records: Sequence[Record], *, data_dir: Path | None = None, report: Log
) -> Content:
    """Draws conclusions and figures from `records` and reads the rest from the group's folder.

    Raises:
        StoreError: A file in the folder cannot be read.
    """
    store = Store(group.folder)
    kept = kept_examples(store)
    loaders = read_loaders(group.folder)
    reference = "the reference " if group.reference else ""
    report(f"reading {reference}{group.name}: {len(records)} records")
    measured = effects(records)
    return Content(
        group=group,
        records=records,
        loaders=loaders,
        effects=measured,
        answers=answers(records, loaders=loaders),
        conclusions=conclude(records, measured),
        pictures=draw(records, loaders, measured, reference=group.reference),
        mistakes=find_mistakes(store, records, data_dir),
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


def find_mistakes(
    store: Store, records: Iterable[Record], data_dir: Path | None = None
) -> Mistakes:
    """The images that most runs of a group misclassified."""
    tested = _tested_alike(records)
    kept: list[Predictions] = []
    for record, metrics in tested:
        try:
            predictions = store.load_predictions(record.run_id)
        except StoreError:  # results may be shared without them; the page says how many were read
            continue
        if _fits(predictions, classes=len(metrics.per_class)):
            kept.append(predictions)
    if not kept:
        return Mistakes(problem="The predictions of these runs were not kept in this folder.")
    labels = kept[0].labels
    same = [each.predictions for each in kept if np.array_equal(each.labels, labels)]
    record, metrics = tested[0]
    mistakes = Mistakes(
        classes=tuple(scores.name for scores in metrics.per_class),
        runs=len(same),
        test_images=len(labels),
        images=tuple(most_mistaken(labels, same)),
    )
    return _with_pictures(mistakes, record, labels, data_dir)


def _fits(found: Predictions, *, classes: int) -> bool:
    """Whether there are any predictions, and all are of known classes."""
    return all(len(array) and array.max() < classes for array in (found.labels, found.predictions))


def _tested_alike(records: Iterable[Record]) -> list[tuple[Record, Metrics]]:
    """The largest set of runs that were tested on the same images."""
    same: dict[tuple[str, int | None], list[tuple[Record, Metrics]]] = defaultdict(list)
    for record in records:
        if record.status == "ok" and record.metrics is not None:
            same[record.fingerprint, record.cell.test_images].append((record, record.metrics))
    return max(same.values(), key=len, default=[])


def most_mistaken(
    labels: np.ndarray, predictions: Sequence[np.ndarray], count: int = MAX_IMAGES
) -> list[Mistake]:
    """At most `count` images that any run got wrong, the most often misclassified first.

    Args:
        labels: int (N,).
        predictions: int (N,) for each run.
    """
    given = np.stack(predictions)
    wrong = (given != labels).sum(axis=0)
    order = np.argsort(-wrong, kind="stable")[:count]
    mistakes = []
    for place in order[wrong[order] > 0].tolist():
        label = int(labels[place])
        taken_for = Counter(int(answer) for answer in given[:, place] if answer != label)
        ranked = sorted(taken_for.items(), key=lambda item: (-item[1], item[0]))
        mistakes.append(Mistake(place=place, label=label, answers=tuple(ranked)))
    return mistakes


def _with_pictures(
    mistakes: Mistakes, record: Record, labels: np.ndarray, data_dir: Path | None
) -> Mistakes:
    from pipelines import sources
    from pipelines.sources.split import stratified

    source = record.cell.source
    if not sources.is_cached(source, data_dir):
        problem = f"The images are not on this machine; `bench data {source}` gets the pictures."
        return replace(mistakes, problem=problem)
    data = sources.load(source, data_dir)
    if data.fingerprint != record.fingerprint:
        problem = f"The images of {source} on this machine are not those of the runs."
        return replace(mistakes, problem=problem)
    every = data.test.labels
    whole = len(labels) >= len(every)
    indices = range(len(every)) if whole else stratified(every, len(labels)).tolist()
    if every[list(indices)].tolist() != labels.tolist():
        return replace(mistakes, problem="The runs were tested on another part of the source.")
    pictured = tuple(
        replace(image, index=index, picture=_png(data.test.images[index].numpy()))
        for image in mistakes.images
        for index in [indices[image.place]]
    )
    return replace(mistakes, images=pictured)


def _png(pixels: np.ndarray) -> bytes:  # uint8 (H, W, C)
    from PIL import Image

    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((MAX_PIXELS, MAX_PIXELS))
    out = BytesIO()
    picture.save(out, format="png")
    return out.getvalue()
