"""No text of a picture is cut off at its edge, however long notes and names are."""

import re
from collections.abc import Callable, Iterator

import pytest

from bench.record import Record
from bench.report.figures.classes import sketches as classes
from bench.report.figures.comparison import Comparison, comparisons
from bench.report.figures.heatmaps import sketches as heat_maps
from bench.report.figures.parts import sketches as parts
from bench.report.figures.picture import picture
from bench.report.figures.style import Sketch, settings
from bench.report.figures.times import NOTE_LETTER_IN, axis_end_s, bars, reach_s
from bench.report.figures.times import sketches as times
from tests.made import made_record

LONG = "_with_a_longer_name"
NUMBER = re.compile(r"[\d.,]+")  # ticks that lie beyond the view are there, but not drawn


def busy(long: str) -> list[Record]:
    """Times that two of three seeds reached, all of them suspect; names that end in `long`."""
    return [
        made_record(
            seed,
            architecture=net,
            optimizer=optimizer,
            augmentation=policy,
            accuracy=0.5 + 0.1 * (net != "cnn2"),
            time_to_accuracy_s=None if seed == 2 else 0.6 + seed / 10,
            record={"timing_suspect": ("busy",)},
        )
        for net in ("cnn2", f"net{long}")
        for optimizer in ("sgd", f"muon{long}")
        for policy in ("none", f"flip{long}")
        for seed in range(3)
    ]


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


# Long texts are some points wider in an SVG than where the layout measured them.
@pytest.mark.parametrize(("long", "slack"), [("", 1.0), (LONG, 6.0)])
@pytest.mark.parametrize("section", [times, heat_maps, parts, classes])
def test_every_text_lies_within_its_picture(
    section: Callable[[Comparison], Iterator[Sketch]], long: str, slack: float
) -> None:
    (comparison,) = comparisons(busy(long))
    with settings():
        drawn = list(section(comparison))
        for sketch in drawn:
            picture(sketch, group=comparison.title, mark="mark")
            assert list(outside(sketch, slack)) == []
    assert drawn


def test_the_axis_of_times_is_long_enough_for_the_notes_beside_the_bars() -> None:
    (comparison,) = comparisons(busy(""))
    found = bars(comparison.cases)
    for axis_in in (3.6, 5.0):
        end_s = axis_end_s(found, axis_in)
        for bar in found:
            begins_in = axis_in * reach_s(bar) / end_s
            assert begins_in + NOTE_LETTER_IN * len(bar.note) <= axis_in
