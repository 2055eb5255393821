"""The curve, the confusion matrix and the scores of each class, drawn for a terminal."""

import math
from collections.abc import Sequence

from rich.text import Text

from bench.record import Metrics, Point
from bench.report.braille import plot

SHADES = " \u2591\u2592\u2593\u2588"  # from nothing to all of a class
PLOT_HEIGHT = 6
PLOT_WIDTH = 60  # at most
LABEL = 8  # characters of the scale beside a plot
SHADED = (3, 2)  # characters of an entry that is a shade, with a blank and without
BAR = 20  # at most
FEW = 0.05  # of a class
CONFUSED = 8  # pairs that are named
FIGURES = 34  # characters of a class's figures
PLAIN_WIDTH = 100  # where lines may be of any length


def curve(points: Sequence[Point], *, width: int | None) -> list[Text]:
    """Training loss and validation accuracy against epochs; a table where there is no terminal.

    Args:
        points: Of the run.
        width: Of the terminal; None for a file, which gets the figures.
    """
    if not points:
        return [Text("no epoch was finished")]
    if width is None:
        return _figures(points)
    loss = [math.nan if p.train_loss is None else p.train_loss for p in points]
    accuracy = [math.nan if p.validation_accuracy is None else p.validation_accuracy
                for p in points]  # fmt: skip
    epochs = [float(p.epoch) for p in points]
    lines = _plot("training loss", epochs, loss, "{:.3f}", width, "yellow")
    scored = [100 * value for value in accuracy]
    lines += _plot("validation accuracy %", epochs, scored, "{:.1f}", width, "green")
    return lines


def _plot(
    title: str, x: list[float], y: list[float], form: str, width: int, style: str
) -> list[Text]:
    known = [value for value in y if math.isfinite(value)]
    if not known:
        return [Text(f"no {title}", "dim")]
    low, high = min(known), max(known)
    room = max(10, min(PLOT_WIDTH, width - LABEL - 4))
    drawn = plot(x, y, width=room, height=PLOT_HEIGHT, low=low, high=high)
    edges = {0: form.format(high), PLOT_HEIGHT - 1: form.format(low)}
    lines = [Text(f"{title}, epochs {x[0]:.0f} to {x[-1]:.0f}, last {form.format(known[-1])}")]
    for index, line in enumerate(drawn):
        lines.append(Text.assemble(f"{edges.get(index, ''):>{LABEL}} |", (line, style)))
    return lines


def _figures(points: Sequence[Point]) -> list[Text]:
    heads = ("epoch", "train s", "train loss", "val. loss", "val. acc. %", "images/s")
    lines = [Text(" ".join(f"{head:>11}" for head in heads))]
    for point in points:
        accuracy = point.validation_accuracy
        values = (
            f"{point.epoch}",
            f"{point.train_s:.2f}",
            _number(point.train_loss),
            _number(point.validation_loss),
            _number(None if accuracy is None else 100 * accuracy, 1),
            f"{point.images_per_s:.0f}",
        )
        lines.append(Text(" ".join(f"{value:>11}" for value in values)))
    return lines


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def confusion(metrics: Metrics, *, width: int | None, color: bool) -> list[Text]:
    """True classes down, predictions across: counts where they fit, else shades, else the worst.

    Args:
        metrics: Of the run.
        width: Characters a line may have; None for any.
        color: Whether heat may be told by colours; shades tell it otherwise.
    """
    names = [one.name for one in metrics.per_class]
    counts = metrics.confusion
    label = max(map(len, names))
    room = (width or PLAIN_WIDTH) - label - 1
    figures = len(str(max(max(row) for row in counts)))
    widest = max(figures + (1 if color else 2), 4) + 1
    fitting = (cell for cell in (widest, *SHADED) if cell * len(names) <= room)
    cell = next(fitting, None)
    lines: list[Text] = []
    if cell is not None:
        head = "".join(f"{name[: cell - 1]:>{cell}}" for name in names)
        if cell > min(SHADED):
            lines.append(Text(" " * (label + 1) + head, "dim"))
        lines += [
            _row(name, label, row, cell, color) for name, row in zip(names, counts, strict=True)
        ]
    else:
        lines.append(Text(f"{len(names)} classes do not fit here", "dim"))
    return [*lines, *_most_confused(names, counts)]


def _row(name: str, label: int, row: Sequence[int], cell: int, color: bool) -> Text:
    """One class: how many of it were taken for which."""
    line = Text(f"{name:<{label}} ")
    for count in row:
        share = count / max(sum(row), 1)
        if cell in SHADED:
            line.append(" " * (cell - 2))
            line.append(2 * _shade(share), _heat(share) if color else "")
        elif color:
            line.append(f"{count:>{cell}}", _heat(share))
        else:
            line.append(f"{count:>{cell - 1}}{_shade(share)}")
    return line


def _shade(share: float) -> str:
    """A block; anything above nothing is seen."""
    return SHADES[math.ceil(share * (len(SHADES) - 1))]


def _heat(share: float) -> str:
    """Nothing for hardly any, blue for few to red for all; readable on dark and on light."""
    if share < FEW:
        return "dim" if share == 0 else ""
    steps = ("on blue", "on cyan", "on green", "on yellow", "on red")
    background = steps[min(int(share * len(steps)), len(steps) - 1)]
    return f"{'white' if background in ('on blue', 'on red') else 'black'} {background}"


def _most_confused(names: Sequence[str], counts: Sequence[Sequence[int]]) -> list[Text]:
    pairs = sorted(
        (-count / sum(row), names[i], names[j])
        for i, row in enumerate(counts)
        for j, count in enumerate(row)
        if i != j and count
    )
    if not pairs:
        return [Text("no image was taken for another class")]
    said = ", ".join(f"{true} for {other} {-share:.0%}" for share, true, other in pairs[:CONFUSED])
    return [Text(f"most often taken: {said}")]


def per_class(metrics: Metrics, *, width: int | None) -> list[Text]:
    """F1 of each class as a bar where it fits, precision, recall and the number of its images."""
    label = max(len(one.name) for one in metrics.per_class)
    longest = max(0, min(BAR, (width or PLAIN_WIDTH) - label - FIGURES))
    lines = [Text(f"{'':<{label}}  F1 %  prec. % recall %  images", "dim")]
    for one in metrics.per_class:
        bar = "\u2588" * round(longest * one.f1)
        figures = (
            f"{100 * one.f1:6.1f} {100 * one.precision:8.1f} {100 * one.recall:8.1f}"
            f" {one.support:7d}  "
        )
        lines.append(Text.assemble(f"{one.name:<{label}}{figures}", (bar, "green")))
    return lines
