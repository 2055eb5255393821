"""Trained networks on the same test images: chance is not claimed, differences are found."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench.record import Record
from bench.report.columns import SPEED
from bench.report.compare.compare import Comparison, compare, corrected, on_same_images
from bench.report.compare.sides import read_sides
from bench.report.compare.text import render
from bench.store.store import Store
from tests.made import made_record, write_records

CELLS = 4
LABELS = np.arange(1000) % 2


def right(rng: np.random.Generator, chances: np.ndarray, seeds: int) -> list[np.ndarray]:
    """Networks that share which images are hard and nothing else."""
    return list(rng.random((seeds, len(chances))) < chances)


def page(rng: np.random.Generator, seeds: tuple[int, int], planted: float) -> list[str]:
    """The verdicts of some cells on 10,000 images of which 8 % are discordant for two networks."""
    chances = rng.beta(1.2, 0.1, 10_000)
    better = chances + (1 - chances) * planted / (1 - chances.mean())
    found = [
        on_same_images(right(rng, chances, seeds[0]), right(rng, better, seeds[1]))
        for _ in range(CELLS)
    ]
    if seeds == (1, 1):
        assert all(0.06 < one.facts["discordant"] / 10_000 < 0.1 for one in found)
    return [one.verdict for one in corrected(found) if one]


@pytest.mark.parametrize("seeds", [(1, 1), (3, 3), (1, 5)])
def test_chance_is_rarely_claimed_and_most_differences_are_found(seeds: tuple[int, int]) -> None:
    rng, pages = np.random.default_rng(20), 150
    false = sum(set(page(rng, seeds, 0.0)) != {"cannot tell"} for _ in range(pages))
    assert false <= 0.05 * pages + 2 * np.sqrt(0.05 * 0.95 * pages)
    found = [verdict for _ in range(20) for verdict in page(rng, seeds, 0.015)]
    assert found.count("higher") >= 0.9 * len(found)


def test_two_networks_get_mcnemars_exact_test() -> None:
    a = np.array([True] * 60 + [False] * 40)
    b = a.copy()
    b[:4], b[60:72] = False, True  # 12 images that only b gets right, 4 that only a does
    one = on_same_images([a], [b])
    assert one.facts == {"seeds": (1, 1), "images": 100, "discordant": 16, "test": "McNemar"}
    assert (one.middle, one.p) == (8.0, pytest.approx(stats.binomtest(12, 16).pvalue))
    assert one.interval.low < 8 < one.interval.high
    more = on_same_images([a, a], [b, b])
    assert (more.middle, more.facts["test"]) == (8.0, "t over images")
    assert more.p == pytest.approx(stats.ttest_rel(b.astype(float), a.astype(float)).pvalue)
    same, opposite = on_same_images([a], [a]), on_same_images([a], [~a, ~a])
    assert (same.verdict, same.p, same.interval) == ("cannot tell", 1.0, None)
    assert opposite.facts["discordant"] == 100
    assert on_same_images([np.ones(8, bool)] * 2, [np.zeros(8, bool)]).verdict == "lower"


def with_predictions(
    folder: Path, seeds: int, mistakes: int, pipeline: str, labels: np.ndarray = LABELS
) -> list[Record]:
    """Runs that are mistaken at the first images, with their predictions."""
    records = [made_record(seed, pipeline=pipeline, accuracy=0.7) for seed in range(seeds)]
    share = 1 - mistakes / len(labels)
    records = [
        replace(one, metrics=replace(one.metrics, accuracy=share)) for one in records if one.metrics
    ]
    group = write_records(folder / "m_shapes_cpu", records)
    for record in records:
        predictions = labels.copy()
        predictions[:mistakes] ^= 1
        Store(group).save_predictions(record.run_id, labels, predictions)
    return records


def compared(tmp_path: Path) -> Comparison:
    return compare(*read_sides(str(tmp_path / "a"), str(tmp_path / "b")), SPEED)


@pytest.mark.parametrize(("seeds", "test"), [((1, 1), "McNemar"), ((2, 1), "t over images")])
def test_predictions_are_compared_by_image(tmp_path: Path, seeds: Sequence[int], test: str) -> None:
    with_predictions(tmp_path / "a", seeds[0], 300, "native")
    with_predictions(tmp_path / "b", seeds[1], 240, "kornia")
    found = compared(tmp_path)
    assert found.rows[0].is_sure
    (cell,) = json.loads(render(found, "json"))["cells"]
    told = cell["same_images"]
    assert (told["test"], told["discordant"], told["images"]) == (test, 60, 1000)
    assert (told["points"], told["verdict"]) == (6.0, "higher")
    assert cell["verdict"] == "too few seeds"
    said = f"({test}, Holm's correction over cells), the accuracy of b's trained networks: higher"
    assert said in render(found, "md")


def test_why_images_are_not_compared_is_one_line(tmp_path: Path) -> None:
    (a,) = with_predictions(tmp_path / "a", 1, 300, "native")
    with_predictions(tmp_path / "b", 1, 300, "kornia", labels=LABELS[::-1].copy())
    said = "No test over test images: different test images in 1 cell."
    assert said in compared(tmp_path).notes
    kept = Store(tmp_path / "a" / "m_shapes_cpu")
    kept.save_predictions(a.run_id, LABELS, LABELS)  # of another attempt: the record says 70 %
    assert compared(tmp_path).notes[-1].endswith("no predictions on side a in 1 cell.")
    (tmp_path / "b" / "m_shapes_cpu" / "predictions").rename(tmp_path / "away")
    assert compared(tmp_path).notes[-1].endswith("no predictions on sides a and b in 1 cell.")
