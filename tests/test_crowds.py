"""Crowded pictures: what a reader can follow stands out, and what is left out is said by a rule."""

import itertools
from collections.abc import Sequence

from bench.record import Record
from bench.report.figures import crowds
from bench.report.figures.comparison import Comparison, comparisons
from bench.report.figures.curves import sketches as curves
from bench.report.figures.pipelines import MOST_PANELS, blocks
from bench.report.figures.pipelines import sketches as pipelines
from bench.report.figures.style import PALETTE, Sketch, settings
from tests.made import made_failure, made_record

OPTIMIZERS = ("adamw", "lion", "muon", "sgd", "soap")
POLICIES = ("cutout", "flip", "mixup", "none")


def crowd(*, cells: int, seeds: int = 1) -> list[Record]:
    """Cells of one net, each more accurate than the one before."""
    levels = itertools.islice(itertools.product(OPTIMIZERS, POLICIES), cells)
    return [
        made_record(seed, optimizer=optimizer, augmentation=policy, accuracy=0.5 + place / 50)
        for place, (optimizer, policy) in enumerate(levels)
        for seed in range(seeds)
    ]


def compared(records: Sequence[Record]) -> Comparison:
    (comparison,) = comparisons(records)
    return comparison


def drawn(comparison: Comparison) -> Sketch:
    with settings():
        return next(iter(curves(comparison)))


def lines(sketch: Sketch) -> list[str]:
    """Colours of the lines of the first panel, from the back to the front."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_hex

    (found,) = (one for one in sketch.figure.axes[0].collections if isinstance(one, LineCollection))
    return [to_hex(color).upper() for color in found.get_colors()]  # type: ignore[union-attr]


def bands(sketch: Sketch) -> int:
    from matplotlib.collections import PolyCollection

    found = [one for one in sketch.figure.axes[0].collections if isinstance(one, PolyCollection)]
    return sum(len(one.get_paths()) for one in found)


def test_of_many_cells_the_most_accurate_stand_out_in_front() -> None:
    comparison = compared(crowd(cells=20, seeds=2))
    kept = {case.label for case in crowds.foremost(comparison.cases)}
    assert kept == {f"{one} · {policy}" for one in ("sgd", "soap") for policy in POLICIES}
    sketch = drawn(comparison)
    colors = lines(sketch)
    assert colors[:12] == [crowds.BEHIND] * 12
    assert set(colors[12:]) == set(PALETTE[:2])
    said = "In a panel of more than 16 cells the 8 with the best test accuracy are in colour and"
    assert f"{said} the others thin and grey, 12 in all. 20 cells" in sketch.caption
    keys = {section.title: [name for name, _ in section.entries] for section in sketch.sections}
    assert keys["optimizer"] == ["sgd", "soap"], "no colour is spent on what is grey"
    assert "the others" in keys


def test_bands_are_those_of_the_cells_that_stand_out() -> None:
    records = crowd(cells=20)
    records += [
        made_record(1, optimizer=one.cell.optimizer, augmentation=one.cell.augmentation,
                    accuracy=one.metrics.accuracy + 0.01)
        for one in records if one.metrics
    ]  # fmt: skip
    assert bands(drawn(compared(records))) == crowds.FOREMOST


def test_few_cells_are_drawn_alike_and_nothing_is_said() -> None:
    comparison = compared(crowd(cells=crowds.MOST_LINES))
    sketch = drawn(comparison)
    assert crowds.BEHIND not in lines(sketch)
    assert "grey" not in sketch.caption
    assert "the others" not in [section.title for section in sketch.sections]


def test_cells_without_a_result_make_no_crowd() -> None:
    failures = [made_failure(optimizer=f"o{number}") for number in range(20)]
    comparison = compared([*crowd(cells=3), *failures])
    assert len(crowds.foremost(comparison.cases)) == 3
    assert crowds.said([comparison.cases]) == ""


def fed(pairs: int) -> list[Record]:
    """Nets with two pipelines, each quicker than the one before; the slowest has three."""
    found = [
        made_record(architecture=f"net{number:02}", pipeline=pipeline, images_per_s=100.0 + number)
        for number in range(pairs)
        for pipeline in ("dali", "native")
    ]
    return [*found, made_record(architecture="net00", pipeline="kornia", images_per_s=1.0)]


def test_of_many_nets_those_with_most_pipelines_are_shown_then_the_quickest() -> None:
    comparison = compared(fed(MOST_PANELS + 3))
    kept = [name.partition(" ")[0] for name in blocks(comparison)]
    assert kept == ["net00", *(f"net{number:02}" for number in range(4, MOST_PANELS + 3))]
    with settings():
        captions = {sketch.name: sketch.caption for sketch in pipelines(comparison, None)}
    for name in ("pipelines_throughput", "pipelines_curves_accuracy"):
        assert (
            "12 of 15 pairs of architecture and optimizer: those with most pipelines, and among "
            "these the quickest in training." in captions[name]
        )


def test_what_is_shown_whole_claims_no_choice() -> None:
    with settings():
        for sketch in pipelines(compared(fed(MOST_PANELS)), None):
            assert "pairs of architecture" not in sketch.caption


def test_long_names_that_are_cut_alike_keep_panels_of_their_own() -> None:
    names = [f"timm:{'x' * 30}{middle}{'y' * 30}" for middle in "ab"]
    records = [
        made_record(architecture=name, pipeline=pipeline)
        for name in names
        for pipeline in ("dali", "native")
    ]
    comparison = compared(records)
    assert len(blocks(comparison)) == 2
    assert len(drawn(comparison).figure.axes) == 2
