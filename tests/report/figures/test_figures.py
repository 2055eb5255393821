"""The figures draw what is in the records, and their files are safe to put on one page."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bench.cell import AXES
from bench.record import Memory, Record, Timings
from bench.report import figures
from bench.report.columns import ACCURACY, METRICS, SPEED, TIME
from bench.report.figures import draw
from bench.report.figures.bars import rank_and_note, time_to_accuracy
from bench.report.figures.comparison import Comparison, comparisons
from bench.report.figures.curves import MAX_LINES, curves, line, thinned
from bench.report.figures.effects import MAX_ROWS, effects
from bench.report.figures.frontiers import AGAINST, frontiers, points
from bench.report.figures.heatmaps import heatmaps, tiles
from bench.report.figures.pipelines import MAX_NETS, fed, feeds, pipelines
from bench.report.figures.style import (
    FOREGROUND,
    Outcomes,
    Picture,
    Sketch,
    picture,
    settings,
    tidy,
)
from bench.report.render import ABSENT, NOT_REACHED
from bench.report.rows import Outcome
from bench.report.statistics.effects import effects as effects_of
from tests.made import made_failure, made_record
from tests.made_grid import made_grid
from tests.made_loaders import MIXED, decoding, disturbed, lost_series, made_loaders, made_series

EVERY = {
    "time_to_accuracy",
    "accuracy_images_per_s",
    "accuracy_train_s",
    *(
        f"{measure}_architecture_{other}"
        for measure in ("accuracy", "macro_f1", "images_per_s", "time_to_accuracy_s")
        for other in ("optimizer", "augmentation")
    ),
    *(
        f"curves_{quantity}_{against}"
        for quantity in ("accuracy", "validation_loss", "training_loss")
        for against in ("epochs", "seconds")
    ),
    "effects_accuracy",
    "effects_images_per_s",
    "effects_time_to_accuracy_s",
    "pipelines_throughput",
    "stall_architecture_pipeline",
    "pipelines_alone",
}
NETS = ("cnn4", "timm:<b>&\"'$x$</svg>")
OPTIMIZERS = ("_sgd", "$\\frac{1}{0}$ fill: #010203")
AUGMENTATIONS = ("none", "a" * 90, "two\nlines\x00\u202e")


def group() -> list[Record]:
    """Cells with two seeds, a failure and a miss; some names try to be markup or are hidden."""
    records: list[Record] = []
    for place, (net, optimizer, policy) in enumerate(
        (net, optimizer, policy)
        for net in NETS
        for optimizer in OPTIMIZERS
        for policy in AUGMENTATIONS
    ):
        axes = {"architecture": net, "optimizer": optimizer, "augmentation": policy}
        if place == 1:
            records.append(made_failure(status="oom", **axes))
            continue
        records += [
            made_record(
                seed,
                accuracy=0.5 + place / 50 + seed / 100,
                time_to_accuracy_s=None if place == 2 else 15.0 - place + seed,
                images_per_s=500.0 + 10 * place,
                **axes,
            )
            for seed in range(2)
        ]
        records.append(made_record(pipeline="<i>dali</i>", time_to_accuracy_s=4.0, **axes))
    return records


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    with settings():
        yield


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return draw(group(), MIXED, effects_of(group()))


def texts(svg: str) -> list[str]:
    """The texts of a picture, as people read them."""
    return [element.text or "" for element in ElementTree.fromstring(svg).iter()]


def test_every_picture_is_drawn_with_the_same_bytes_in_any_order(
    pictures: Sequence[Picture],
) -> None:
    names = [picture.name for picture in pictures]
    assert sorted(names) == sorted(EVERY)
    assert not any("AMD EPYC" in drawn.caption for drawn in pictures), "headers say it once"
    assert len({drawn.title for drawn in pictures}) == len(EVERY)
    assert names[0].startswith("effects"), "the answer comes first"
    shuffled = group()
    random.Random(1).shuffle(shuffled)
    assert draw(shuffled, MIXED, effects_of(shuffled)) == list(pictures)


def test_svgs_take_the_colour_of_the_page_and_pngs_are_white(pictures: Sequence[Picture]) -> None:
    for drawn in pictures:
        root = ElementTree.fromstring(drawn.svg)
        assert not {"width", "height"} & set(root.attrib)
        _, top, width, height = map(float, root.attrib["viewBox"].split())
        assert min(top, width, height) > 0
        styles = " ".join(
            value
            for e in root.iter()
            for name, value in e.attrib.items()
            if name not in ("aria-label", "data-level")
        )
        assert "currentColor" in styles
        assert FOREGROUND not in styles
        assert not re.search("fill: (#000000|black|#ffffff|white)(?!.*font)", root.get("style", ""))
        image = Image.open(BytesIO(drawn.png))
        corners = [(0, 0), (image.width - 1, 0), (0, image.height - 1)]
        assert {image.convert("RGB").getpixel(corner) for corner in corners} == {(255, 255, 255)}
        assert round(float(image.info["dpi"][0])) == 150


def test_no_two_pictures_of_a_page_share_an_id(pictures: Sequence[Picture]) -> None:
    others = draw([made_record(optimizer=name) for name in "ab"], None)
    ids: list[str] = []
    for drawn in [*pictures, *others]:
        own = re.findall(r'\bid="([^"]+)"', drawn.svg)
        ids += own
        used = re.findall(r'url\(#([^)]+)\)|xlink:href="#([^"]+)"', drawn.svg)
        assert {first or second for first, second in used} == set(own)
    assert len(ids) == len(set(ids))


def test_ids_are_those_of_the_page_and_not_hashes_of_coordinates() -> None:
    svg = '<svg viewBox="0 0 9 9"><g id="x" clip-path="url(#{0})"/><clipPath id="{0}"/></svg>'
    found = {tidy(svg.format(name), "i", label="l", cut_top=0.0) for name in ("p1f", "p2e")}
    (text,) = found
    assert re.findall('id="(.*?)"', text) == ["i-0"]


def test_marks_name_their_cells_and_key_entries_their_level(pictures: Sequence[Picture]) -> None:
    cells = {outcome.id for outcome in compared(group()).outcomes}
    for drawn in pictures:
        root = ElementTree.fromstring(drawn.svg)
        ids = {one for e in root.iter() for one in e.get("data-cells", "").split()}
        assert ids <= cells
        assert ids or drawn.name == "pipelines_alone"
        if re.match(r"time_to_accuracy$|accuracy_(images|train)", drawn.name):
            shown = {e.get("data-level") for e in root.iter()} - {None}
            assert shown >= {name.replace("\n", "\ufffd") for name in OPTIMIZERS}
        if "architecture" in drawn.name:
            tiles = [e for e in root.iter() if e.tag.endswith("path") and e.get("data-cells")]
            texts = [e for e in root.iter() if e.tag.endswith("}g") and e.get("data-cells")]
            assert len(tiles) == len(texts) > 0


def test_text_can_be_read_on_a_telephone_or_the_figure_scrolls(pictures: Sequence[Picture]) -> None:
    for drawn in pictures:
        root = ElementTree.fromstring(drawn.svg)
        least = re.search(r"min-width: (\d+)px", root.attrib["style"])
        assert (root.get("data-wide") is not None) is (least is not None)
        scale = float(least[1] if least else 366) / float(root.attrib["viewBox"].split()[2])
        sizes = map(float, re.findall(r"font-size: ([\d.]+)px", drawn.svg))
        assert min(sizes) * scale > 8.7, drawn.name


def test_hostile_names_stay_names_and_misses_are_written(pictures: Sequence[Picture]) -> None:
    heat_map = next(p for p in pictures if p.name == "accuracy_architecture_optimizer")
    assert NETS[1] in texts(heat_map.svg)
    assert set(OPTIMIZERS) <= set(texts(heat_map.svg))
    tags = {"svg", "g", "path", "text", "tspan", "use", "defs", "style", "clipPath", "rect"}
    for drawn in pictures:
        assert set(re.findall(r"<([^/ >]+)", drawn.svg)) <= tags | {"image"}
        assert all(character.isprintable() or character == "\n" for character in drawn.svg)
    by_name = {picture.name: picture for picture in pictures}
    bars = texts(by_name["time_to_accuracy"].svg)
    assert any(text.startswith("not reached (test") for text in bars)
    assert "oom" in bars
    alone = by_name["pipelines_alone"].caption
    assert "Without a measurement: dali at 512 (skipped), zoo at 512 (crashed)." in alone


def test_without_a_result_nothing_is_drawn_but_suspect_cells_are() -> None:
    assert draw([], None) == []
    assert draw([made_failure(optimizer=name) for name in "ab"], None) == []
    doubts = {"timing_suspect": ("busy",)}
    assert draw([made_record(pipeline=name, record=doubts) for name in ("native", "kornia")], None)


def test_a_picture_is_drawn_only_where_two_cells_have_its_measures() -> None:
    names = {picture.name for picture in draw([made_record()], None)}
    assert "curves_accuracy_epochs" in names
    assert not any(name.startswith(("accuracy", "time", "pipelines", "stall")) for name in names)
    speedrun = [
        made_record(optimizer=name, protocol="speedrun", time_to_accuracy_s=None) for name in "ab"
    ]
    names = {picture.name for picture in draw(speedrun, None)}
    assert "accuracy_architecture_optimizer" in names
    assert not any("time_to_accuracy" in name for name in names)
    records = [made_record(optimizer="a", record={"energy_j": 1.0}), made_record(optimizer="b")]
    names = [sketch.name for sketch in frontiers(compared(records))]
    assert names == ["accuracy_images_per_s", "accuracy_train_s"]


def test_pipelines_alone_need_no_records() -> None:
    series = [made_series(name, 900.0, 1000.0, 1100.0) for name in ("native", "dali")]
    (found,) = draw([], made_loaders(*series))
    assert found.name == "pipelines_alone"
    assert "1,000" in texts(found.svg)
    assert "Hollow" not in found.caption
    (busy,) = draw([], made_loaders(series[0], disturbed(series[1])))
    assert "Hollow: 1 of 2 series have suspect timings." in busy.caption
    assert [len(re.findall(r"fill: #\w+", one.svg)) for one in (found, busy)] == [2, 1]


def test_speed_is_drawn_against_cpu_time_with_each_pipeline_named() -> None:
    native = decoding(made_series("native", 90.0, 100.0, 110.0), 9.0, 10.0, 11.0)
    busy = disturbed(decoding(made_series("busy", 190.0, 200.0, 210.0), 4.0, 5.0, 6.0))
    array = decoding(made_series("array", 900.0, 1000.0, 1100.0), 0.9, 1.0, 1.1)
    other_size = decoding(made_series("native", 5.0, batch_size=8), 50.0)
    loaders = made_loaders(native, busy, replace(array, reads="array"), other_size)
    alone, found = draw([], loaders)
    assert (alone.name, found.name) == ("pipelines_alone", "pipelines_cpu")
    assert "batch size 512" in found.caption
    said = texts(found.svg)
    assert {"1  native", "2  busy", "3  array", "1 core", "reads files"} <= set(said)
    _, same = draw([], replace(loaders, series=loaders.series[:3]))
    assert texts(same.svg) == said, "the other batch size is not drawn"
    assert "fill-opacity: 0" in found.svg


@pytest.mark.slow
def test_processes_that_share_the_work_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [made_record(seed, architecture=net) for net in ("cnn4", "cnn6") for seed in (0, 1)]
    alone = figures.draw(records)
    monkeypatch.setattr(figures, "MANY", 1)
    monkeypatch.setattr(figures, "usable_cores", lambda: 2)
    assert figures.draw(records) == alone


def caption_of(comparison: Comparison) -> str:
    figure: Any = None
    return comparison.sketch("", "", [], figure, outcomes=comparison.outcomes).caption


def compared(records: Sequence[Record]) -> Comparison:
    (comparison,) = comparisons(records)
    return comparison


def drawn(comparison: Comparison) -> Sketch:
    return next(iter(curves(comparison)))


def test_lines_of_a_crowded_panel_are_thin_and_names_cut_alike_have_panels_of_their_own() -> None:
    for cells in (MAX_LINES, MAX_LINES + 1):
        sketch = drawn(compared([made_record(optimizer=f"o{number}") for number in range(cells)]))
        (lines,) = sketch.figure.axes[0].collections
        assert bool(lines.get_linewidth()[0] > 1) is (cells == MAX_LINES)
    names = [f"timm:{'x' * 30}{middle}{'y' * 30}" for middle in "ab"]
    records = [
        made_record(architecture=name, pipeline=pipeline)
        for name in names
        for pipeline in ("dali", "native")
    ]
    comparison = compared(records)
    assert len(fed(comparison)) == 2
    assert len(drawn(comparison).figure.axes) == 2


def test_of_many_nets_those_with_most_pipelines_are_shown_then_the_quickest() -> None:
    records = [
        made_record(architecture=f"net{number:02}", pipeline=pipeline, images_per_s=100.0 + number)
        for number in range(MAX_NETS + 3)
        for pipeline in ("dali", "native")
    ]
    records.append(made_record(architecture="net00", pipeline="kornia", images_per_s=1.0))
    names = [name.partition(" ")[0] for name in fed(compared(records))]
    assert names == ["net00", *(f"net{number:02}" for number in range(MAX_NETS + 2, 0, -1))]
    sketch = next(pipelines(compared(records)))
    assert "12 of 15 pairs of architecture and optimizer: those with most" in sketch.caption


NUMBER = re.compile(r"[\d.,]+")  # ticks that lie beyond the view are there, but not drawn


def outside(sketch: Sketch, slack: float) -> Iterator[str]:
    """Texts that reach over the edge by more than `slack` points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    figure = sketch.figure
    renderer = FigureCanvasAgg(figure).get_renderer()
    for one in figure.findobj(Text):
        said = one.get_text()  # type: ignore[attr-defined]
        if said.strip() and one.get_visible() and not NUMBER.fullmatch(said):
            box = one.get_window_extent(renderer)
            low, high = min(box.x0, box.y0), (box.x1 - figure.bbox.x1, box.y1 - figure.bbox.y1)
            if low < -slack or max(high) > slack:
                yield f"{sketch.name}: {said}"


CURVE, STALL = "validation_accuracy", METRICS["stall_pct"]


@pytest.mark.parametrize("section", [time_to_accuracy, heatmaps])
def test_texts_lie_within_their_picture(section: Callable[[Comparison], Iterator[Sketch]]) -> None:
    comparison = compared(group())
    sketches = list(section(comparison))
    for sketch in sketches:
        picture(sketch, group=comparison.title, digest="digest")
        # Long texts are some points wider in an SVG than where the layout measured them.
        assert list(outside(sketch, slack=6.0)) == []
    assert sketches


def outcomes_of(*records: Record) -> Outcomes:
    return compared(records).outcomes


def outcome_of(*records: Record) -> Outcome[Record]:
    (outcome,) = outcomes_of(*records)
    return outcome


def test_cells_are_told_apart_by_what_differs_between_them() -> None:
    def labels(*records: Record) -> list[str]:
        return [outcome.label for outcome in outcomes_of(*records)]

    assert labels(made_record()) == ["resnet18 · sgd · flip_crop · kornia"]
    assert labels(made_record(optimizer="muon"), made_record(optimizer="sgd")) == ["muon", "sgd"]
    small, large = labels(made_record(batch_size=50), made_record(batch_size=100))
    assert "batch 50" in small
    assert "batch 100" in large


def test_budgets_of_one_cell_are_never_compared_in_a_picture() -> None:
    short = [made_record(epochs=4, optimizer=name) for name in ("sgd", "muon")]
    found = comparisons([*short, made_record(epochs=8, optimizer="sgd")])
    assert [{each.cell.epochs for each in one.outcomes} for one in found] == [{4}, {8}]
    drawn = [sketch for one in found for sketch in curves(one)]
    assert len({one.name for one in drawn}) == len({one.title for one in drawn}) == len(drawn)
    assert [drawn[0].title, drawn[6].title] == [
        f"Validation accuracy against epochs ({epochs} epochs)" for epochs in (4, 8)
    ]
    different = compared([short[0], made_record(epochs=8, optimizer="muon")])
    assert "Cells differ in epochs." in caption_of(different)
    failed = compared([*map(made_record, range(3)), made_failure(optimizer="muon")])
    assert caption_of(failed) == "2 cells, 3 successful runs. 1 cell without a result."


@pytest.mark.parametrize(
    "change",
    [{"target_accuracy": 0.7}, {"protocol": "speedrun"}, {"source": "cifar10"}, {"scale": "full"}],
)
def test_targets_protocols_sources_and_scales_are_never_mixed(change: dict[str, Any]) -> None:
    records = [made_record(optimizer="sgd"), made_record(optimizer="x", **change)]
    assert len(comparisons(records)) == 2


def test_what_was_missed_failed_or_not_run_is_said() -> None:
    outcomes = outcomes_of(
        made_record(optimizer="a"),
        made_record(optimizer="b", time_to_accuracy_s=None),
        made_failure(optimizer="c", status="oom"),
        made_record(optimizer="a", architecture="cnn4"),
    )
    found = tiles(outcomes, TIME, AXES[:2])
    assert list(found["text"]) == ["3.00", ABSENT, ABSENT, "3.00", NOT_REACHED, "oom"]
    reached, missed = (made_record(n, time_to_accuracy_s=s) for n, s in ((0, 2.0), (1, None)))
    partly = outcomes_of(reached, missed, made_failure(2))
    busy = outcomes_of(made_record(record=BUSY))
    found = [tiles(partly, TIME, AXES[:2])]
    found += [tiles(busy, metric, AXES[:2]) for metric in (ACCURACY, SPEED, TIME, STALL)]
    texts = [text for one in found for text in one["text"]]
    assert texts == ["2.00\n1 of 3", "70.00", "suspect", "suspect", "suspect"]


BUSY = {"timing_suspect": ("busy",)}


def planted(speed: float) -> list[Record]:
    """Every cell of `group` has a further seed that is suspect; two cells have nothing else."""
    axes = [*dict.fromkeys(tuple(getattr(one.cell, axis) for axis in AXES) for one in group())]
    axes += [(net, "suspect", "none", "kornia") for net in NETS]
    found = group()
    for values in axes:
        cell = dict(zip(AXES, values, strict=True))
        one = made_record(7, images_per_s=speed, time_to_accuracy_s=1 / speed, **cell)
        curve = tuple(replace(point, train_s=point.train_s / speed) for point in one.curve)
        timings = Timings(train_s=1 / speed, total_s=2 / speed)
        found.append(replace(one, curve=curve, timings=timings, timing_suspect=("busy",)))
    return found


@pytest.mark.parametrize("figure", figures.FIGURES)
def test_suspect_times_change_no_figure_and_captions_count_them(figure: Any) -> None:
    """Whatever they are, except for hollow points, which no line joins."""
    slow, fast = ([*figure(compared(planted(speed)))] for speed in (1e-3, 1e3))
    for one, other in zip(slow, fast, strict=True):
        timed = not re.match(r"(accuracy|macro_f1)_arch|class|.*_epochs", one.name)
        said = re.search(r"Suspect timings, left out of all means: \d+ of \d+ r", one.caption)
        assert (said is not None) is timed
        assert (one.caption, one.sections) == (other.caption, other.sections)
        if one.name.startswith(("accuracy_images", "accuracy_train")):
            assert "3 hollow cells have suspect timings only" in one.caption
        else:
            drawn = [picture(each, group="g", digest="d").svg for each in (one, other)]
            assert drawn[0] == drawn[1], one.name
    assert slow or figure is figures.pipelines_alone


def test_the_best_is_brightest_whichever_way_a_measure_runs() -> None:
    records = [
        made_record(optimizer="a", images_per_s=500.0, time_to_accuracy_s=1.0),
        made_record(optimizer="b", images_per_s=900.0, time_to_accuracy_s=2.0),
    ]
    for metric, best in ((SPEED, "b"), (TIME, "a"), (STALL, "b")):
        found = tiles(outcomes_of(*records), metric, AXES[:2])
        assert dict(zip(found["share"], found["column"], strict=True))[1.0] == best
        assert sorted(found["share"]) == [0.0, 1.0]
    sketch = next(one for one in heatmaps(compared(records)) if one.name.startswith("images"))
    (key,) = sketch.sections
    assert list(key.looks) == ["worst: 500", "best: 900"]


def test_a_curve_that_begins_high_does_not_flatten_the_others() -> None:
    def losses(net: str, first: float) -> Record:
        one = made_record(architecture=net)
        curve = [replace(point, train_loss=first / point.epoch) for point in one.curve]
        return replace(one, curve=tuple(curve))

    usual = [losses(net, 2.3) for net in "abc"]
    found = [
        {one.name: one for one in curves(compared(records))}["curves_training_loss_epochs"]
        for records in (usual, [*usual, losses("d", 8.5)])
    ]
    tops = [one.figure.axes[0].get_ylim()[1] for one in found]
    assert tops == [pytest.approx(2.3, rel=0.1), pytest.approx(1.5 * 2.3)]
    assert "Values over 3.45 are cut off." in found[1].caption
    assert "cut off" not in found[0].caption


def test_a_curve_is_mean_least_and_most_of_the_seeds() -> None:
    found = line(outcome_of(made_record(0, accuracy=0.4), made_record(1, accuracy=0.8)), CURVE)
    assert found == pytest.approx(
        np.array([(1, 2, 3, 4), (15, 30, 45, 60), (10, 20, 30, 40), (20, 40, 60, 80)])
    )
    bare = [replace(point, validation_accuracy=None) for point in made_record().curve]
    for record in (made_failure(), replace(made_record(), curve=tuple(bare))):
        assert line(outcome_of(record), CURVE) is None


@given(st.integers(1, 5000), st.integers(2, 200))
def test_a_thinned_curve_keeps_both_ends_and_its_order(length: int, most: int) -> None:
    places = thinned(length, most).tolist()
    assert (places[0], places[-1]) == (0, length - 1)
    assert len(places) == min(length, most)
    assert places == sorted(set(places))


def test_bars_stand_by_time_then_missed_then_failed() -> None:
    suspect = {"timing_suspect": ("busy",)}
    outcomes = outcomes_of(
        made_failure(optimizer="failed", status="crashed"),
        made_record(optimizer="never", time_to_accuracy_s=None, accuracy=0.5),
        made_record(0, optimizer="slow", time_to_accuracy_s=9.0),
        made_record(0, optimizer="half", time_to_accuracy_s=1.0),
        made_record(1, optimizer="half", time_to_accuracy_s=None, record=suspect),
        made_record(optimizer="busy", time_to_accuracy_s=0.1, record=suspect),
        made_record(0, optimizer="quick", time_to_accuracy_s=2.0),
        made_record(1, optimizer="quick", time_to_accuracy_s=4.0),
    )
    ranked = sorted((*rank_and_note(outcome), outcome.label) for outcome in outcomes)
    assert [(label, note) for _, note, label in ranked] == [
        ("quick", "3.00 s"),
        ("slow", "9.00 s"),
        ("half", "1.00 s, 1 of 2 runs, 1 suspect"),
        ("busy", "timing suspect"),
        ("never", f"{NOT_REACHED} (test 50.0%)"),
        ("failed", "crashed"),
    ]


@pytest.mark.parametrize("against", AGAINST)
def test_the_frontier_is_what_nothing_beats_and_no_suspect_time_is_on_it(against: Any) -> None:
    speeds = {"fast": (8, 0.5), "same": (8, 0.5), "both": (6, 0.7), "good": (2, 0.9)}
    speeds |= {"bad": (5, 0.6), "busy": (9, 0.1)}
    records = [
        made_record(
            optimizer=name,
            accuracy=accuracy,
            images_per_s=100.0 * speed,
            record={
                "timings": Timings(train_s=10.0 - speed),
                "memory": Memory(host_gib=10.0 - speed),
                "energy_j": 10.0 - speed,
                "timing_suspect": ("busy",) if name == "busy" else (),
            },
        )
        for name, (speed, accuracy) in speeds.items()
    ]
    found = points(outcomes_of(*records), against)
    hollow = {"busy"} if against.timing else set()
    assert {point.outcome.label for point in found if not point.best} == {"bad"} | hollow
    assert [point.accuracy for point in found][:2] == pytest.approx([90, 70])
    drawn = {sketch.name: sketch for sketch in frontiers(compared(records))}
    (axes,) = drawn[f"accuracy_{against.name}"].figure.axes
    faces = [len(one.get_facecolor()) for one in axes.collections]
    assert faces.count(0) == len(hollow)


def test_a_feed_has_the_pipeline_alone_its_ceiling_and_what_training_got() -> None:
    comparison = comparisons(
        [
            made_record(pipeline="native", images_per_s=1500.0),
            made_record(pipeline="native", images_per_s=1700.0, augmentation="none"),
            made_record(pipeline="dali", images_per_s=1000.0),
            made_failure(pipeline="zoo", status="skipped"),
            made_record(architecture="cnn4", pipeline="native"),
        ]
    )[0]
    loaders = made_loaders(
        made_series("native", 5000.0, 5200.0, 5400.0, batch_size=128),
        made_series("native", 9000.0, batch_size=4096),
        disturbed(made_series("native", 4000.0, 4100.0, 4200.0, batch_size=100)),
        lost_series("zoo", "skipped", "not installed"),
    )
    assert list(fed(comparison)) == ["resnet18 · sgd"]
    outcomes = [one for one in comparison.outcomes if one.cell.architecture == "resnet18"]
    native, dali, zoo = feeds(outcomes, loaders)
    assert native.rates == {"alone": 5200.0, "ceiling": 2000.0, "in training": 1600.0}
    assert (native.pipeline, native.note) == ("native", "stall 20 %")
    assert dali.rates == {"alone": None, "ceiling": 2000.0, "in training": 1000.0}
    assert (dali.partial, dali.note) == (True, "stall 50 %, 1 of 2")
    assert (set(zoo.rates.values()), zoo.note) == ({None}, "skipped")


def test_a_pipeline_with_some_suspect_cells_is_hollow_and_not_ranked() -> None:
    """Its mean may be that of the cheapest augmentation only."""
    records = [
        made_record(
            pipeline=pipeline,
            augmentation=augmentation,
            images_per_s=speed,
            record=BUSY if pipeline == "native" and speed < 1000 else {},
        )
        for pipeline in ("kornia", "native")
        for augmentation, speed in (("none", 1500.0), ("flip_crop", 900.0))
    ]
    comparison = compared(records)
    (kornia, native) = feeds(comparison.outcomes, None)
    assert (kornia.partial, native.partial, native.note) == (False, True, "stall 25 %, 1 of 2")
    sketch = next(pipelines(comparison))
    assert "Hollow: of some augmentations only" in sketch.caption
    faces = [line.get_markerfacecolor() for line in sketch.figure.axes[0].lines if line.get_gid()]
    assert faces.count("none") == 2


def forest(better: str, optimizers: Sequence[str], **grid: Any) -> tuple[Sketch, Any]:
    """The effects on accuracy where one optimizer is better, and their axes."""

    def planted(optimizer: str, **_: object) -> dict[str, float | None]:
        return {"accuracy": 0.65 if optimizer == better else 0.6}

    records = made_grid(planted, optimizer=optimizers, augmentation=("none",), seeds=5, **grid)
    sketch = next(effects(compared(records), effects_of(records)))
    return sketch, sketch.figure.axes[0]


def test_significant_effects_are_filled_and_come_first() -> None:
    sketch, axes = forest("muon", ("sgd", "muon", "adamw"))
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[-3:] == ["optimizer vs sgd", "muon", "adamw"]
    filled = [one.get_markerfacecolor() != "none" for one in axes.lines if one.get_marker() == "o"]
    assert filled == [False] * 4 + [True, False]
    assert axes.get_xlabel() == "test accuracy (points) → better"
    root = ElementTree.fromstring(picture(sketch, group="g", digest="d").svg)
    cells = [e.get("data-cells", "").split() for e in root.iter() if e.get("data-cells")]
    assert len(cells[-1]) == 5, "those of a level, one for each net"
    names = [f"o{number:02}" for number in range(MAX_ROWS + 5)]
    sketch, axes = forest(names[-1], ("sgd", *names), architecture=("vit",))
    assert f"{MAX_ROWS} of {len(names)} effects, the significant first." in sketch.caption
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert (labels[1], len(labels)) == (names[-1], MAX_ROWS + 1)


def test_own_and_reference_results_differ_in_every_title() -> None:
    own, shipped = (draw([made_record()], MIXED, reference=one) for one in (False, True))
    assert [f"{one.title} (reference)" for one in own] == [one.title for one in shipped]
