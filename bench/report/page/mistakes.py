"""The test images that most runs took for something else, and their pictures if at hand.

Runs are compared over the images that they share. Pictures come from the source only if it is in
the local cache and holds the very images that the runs saw; nothing is fetched.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from bench.record import Record
from bench.store.files import StoreError
from bench.store.predictions import Predictions
from bench.store.store import Store

if TYPE_CHECKING:
    import numpy as np

SHOWN = 24
LARGEST_PIXELS = 96  # of a side; a larger picture is made smaller


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One image and what it was taken for.

    Args:
        place: Its number among the test images that the runs saw, from 0.
        label: Its class.
        answers: Class to the number of runs that gave it, wrong ones only, most frequent first.
        index: Its number in the source's whole test set; None where the source is not at hand.
        picture: PNG; b"" where the source is not at hand.
    """

    place: int
    label: int
    answers: tuple[tuple[int, int], ...]
    index: int | None = None
    picture: bytes = b""

    @property
    def wrong(self) -> int:
        """Runs that were mistaken."""
        return sum(count for _, count in self.answers)


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """The images most often mistaken.

    Args:
        classes: Names; a label is an index into them.
        runs: Runs that were compared.
        test_images: Images that each of them was tested on.
        images: The most mistaken first; of equals the first in the source.
        problem: Why there are no pictures, or no images at all, in one sentence; "" for neither.
    """

    classes: tuple[str, ...] = ()
    runs: int = 0
    test_images: int = 0
    images: tuple[Mistake, ...] = ()
    problem: str = ""


def find(store: Store, records: Iterable[Record], data_dir: Path | None = None) -> Mistakes:
    """The images most often mistaken by the runs of one group."""
    largest = _largest(records)
    found = []
    for record in largest:
        try:
            kept = store.load_predictions(record.run_id)
        except StoreError:  # results may be shared without them; how many were found is said
            continue
        if _fits(kept, record):
            found.append(kept)
    if not found:
        return Mistakes(problem="The predictions of these runs were not kept in this folder.")
    labels = found[0].labels
    same = [one.predictions for one in found if _equal(one.labels, labels)]
    cell = largest[0].cell
    metrics = largest[0].metrics
    assert metrics is not None
    mistakes = Mistakes(
        classes=tuple(scores.name for scores in metrics.per_class),
        runs=len(same),
        test_images=len(labels),
        images=tuple(most_mistaken(labels, same)),
    )
    return _with_pictures(mistakes, cell.source, largest[0].fingerprint, labels, data_dir)


def _fits(kept: Predictions, record: Record) -> bool:
    """Whether predictions are of the record's classes, and of any images."""
    assert record.metrics is not None
    given = (kept.labels, kept.predictions)
    return all(len(array) and array.max() < len(record.metrics.per_class) for array in given)


def _largest(records: Iterable[Record]) -> list[Record]:
    """The most runs that were tested on the same images."""
    same: dict[tuple[str, int | None], list[Record]] = defaultdict(list)
    for record in records:
        if record.status == "ok" and record.metrics is not None:
            same[record.fingerprint, record.cell.test_images].append(record)
    return max(same.values(), key=len, default=[])


def _equal(one: "np.ndarray", other: "np.ndarray") -> bool:
    return one.shape == other.shape and bool((one == other).all())


def most_mistaken(
    labels: "np.ndarray", predictions: Sequence["np.ndarray"], count: int = SHOWN
) -> list[Mistake]:
    """At most `count` images that any run got wrong, the most mistaken first.

    Args:
        labels: int (N,).
        predictions: int (N,) for each run.
        count: Images at most.
    """
    import numpy as np

    given = np.stack(predictions)
    wrong = (given != labels).sum(axis=0)
    order = np.argsort(-wrong, kind="stable")[:count]
    mistakes = []
    for place in order[wrong[order] > 0].tolist():
        label = int(labels[place])
        answers = Counter(int(answer) for answer in given[:, place] if answer != label)
        ranked = sorted(answers.items(), key=lambda item: (-item[1], item[0]))
        mistakes.append(Mistake(place=place, label=label, answers=tuple(ranked)))
    return mistakes


def _with_pictures(
    mistakes: Mistakes, source: str, fingerprint: str, labels: "np.ndarray", data_dir: Path | None
) -> Mistakes:
    from pipelines import sources

    line = f"bench data {source}"
    if not sources.is_cached(source, data_dir):
        return replace(
            mistakes, problem=f"The images are not on this machine; `{line}` gets the pictures."
        )
    data = sources.load(source, data_dir)
    if data.fingerprint != fingerprint:
        return replace(
            mistakes, problem=f"The images of {source} on this machine are not those of the runs."
        )
    from pipelines.sources.split import stratified

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


def _png(pixels: "np.ndarray") -> bytes:
    """An image uint8 (H, W, C) as PNG, made smaller where it is large."""
    from PIL import Image

    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((LARGEST_PIXELS, LARGEST_PIXELS))
    out = BytesIO()
    picture.save(out, format="png")
    return out.getvalue()
