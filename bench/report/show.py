"""One run for people: its record in words, its curve and its confusion matrix.

Curves as small plots of braille characters, 2 x 4 dots each.

The curve, the confusion matrix and the scores of each class, drawn for a terminal.

Finds one run among the records of a results folder, by its id or its name.

The command that the page offers to train a run again.
"""

import difflib
import math
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from bench.cell import FIELDS, Cell, is_default, plugins_of
from bench.errors import UsageError
from bench.record import Metrics, Point, Record
from bench.report.matrix import bound_by, versions
from bench.report.rows import settings
from bench.store.codec import encode
from bench.store.groups import groups
from bench.store.store import Store
from bench.text import printable, sanitize, shell_command

BLANK = 0x2800
# The bit of each dot of a character, by row and column from the top left on.
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def plot(
    x: Sequence[float], y: Sequence[float], *, width: int, height: int, low: float, high: float
) -> list[str]:
    """A line through points, as `height` texts of `width` characters.

    Args:
        x: Of the points, rising.
        y: Likewise as many; a point that is not finite is left out and breaks the line.
        width: Characters.
        height: Lines.
        low: The y of the lower edge; lower points lie on it.
        high: Of the upper edge; higher points lie on it.

    Raises:
        ValueError: There are not as many y as x.
    """
    columns, rows = 2 * width, 4 * height
    grid = [[0] * width for _ in range(height)]
    before: tuple[int, int] | None = None
    for one_x, one_y in zip(x, y, strict=True):
        if not math.isfinite(one_y):
            before = None
            continue
        here = (_place(one_x, x[0], x[-1], columns), rows - 1 - _place(one_y, low, high, rows))
        for column, row in _line(before or here, here):
            grid[row // 4][column // 2] |= DOTS[row % 4][column % 2]
        before = here
    return ["".join(chr(BLANK + bits) for bits in line) for line in grid]


def _place(value: float, low: float, high: float, count: int) -> int:
    """The dot, of `count`, that a value between `low` and `high` falls on."""
    share = (value - low) / (high - low) if high > low else 0.5
    return round(min(1.0, max(0.0, share)) * (count - 1))


def _line(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots from one to another, both included."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (
            start[0] + round((end[0] - start[0]) * step / steps),
            start[1] + round((end[1] - start[1]) * step / steps),
        )
        for step in range(steps + 1)
    ]


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
    for index, row in enumerate(drawn):
        lines.append(Text.assemble(f"{edges.get(index, ''):>{LABEL}} |", (row, style)))
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


CANDIDATES = 8  # that a message names; the rest is counted


@dataclass(frozen=True, kw_only=True)
class FoundRun:
    """A run and where it is.

    Args:
        record: Its record.
        store: The group that holds it.
        earlier: Records of earlier attempts, oldest first.
        root: The results folder that was searched, or that holds the group that was searched.
    """

    record: Record
    store: Store
    earlier: list[Record]
    root: Path


def find_run(
    root: Path,
    wanted: str,
    on_warning: Callable[[str], None] | None = None,
    *,
    any_group: bool = False,
) -> FoundRun:
    """The run whose id or name is `wanted`, or the only one with an id that begins so or a name
    that holds it.

    Args:
        root: A results folder, or one group in it.
        wanted: An id, a name, or a part of one.
        on_warning: Is told of damaged records.
        any_group: Whether any of several groups with the same run will do.

    Raises:
        StoreError: There is no such folder, or it cannot be read.
        UsageError: No run is meant, or several are; the message names those that might be.
    """
    known: list[tuple[Record, Store]] = []
    for group in groups(root):
        store = Store(group.folder)
        warned = {"on_warning": on_warning} if on_warning else {}
        known += [(record, store) for record in store.records(**warned, sanitized=True)]
    if not known:
        raise UsageError(f"there are no records under {root}: `bench run` makes some")
    for test in (_is_it, _begins_so, _holds_it):
        found = [pair for pair in known if test(pair[0], wanted)]
        same_run = len({record.run_id for record, _ in found}) == 1
        if len(found) > 1 and not (any_group and same_run):
            raise UsageError(_ambiguous(wanted, found))
        if found:
            record, store = found[0]
            top = Path(os.path.normpath(root / "..")) if store.folder == root else root
            earlier = _earlier(store, record)
            return FoundRun(record=record, store=store, earlier=earlier, root=top)
    raise UsageError(_unknown(root, wanted, known))


def _earlier(store: Store, record: Record) -> list[Record]:
    return [sanitize(earlier) for earlier in store.attempts(record.run_id)]


def _is_it(record: Record, wanted: str) -> bool:
    return wanted in (record.run_id, record.name)


def _begins_so(record: Record, wanted: str) -> bool:
    return bool(wanted) and record.run_id.startswith(wanted)


def _holds_it(record: Record, wanted: str) -> bool:
    return wanted in record.name


def _ambiguous(wanted: str, found: Sequence[tuple[Record, Store]]) -> str:
    if len({record.run_id for record, _ in found}) == 1:
        folders = ", ".join(str(store.folder) for _, store in found)
        return f"{wanted!r} is in several groups, name one after it: {folders}"
    named = [f"{record.name} ({record.run_id[:8]})" for record, _ in found[:CANDIDATES]]
    more = f" and {len(found) - CANDIDATES} more" if len(found) > CANDIDATES else ""
    return f"{wanted!r} may mean {len(found)} runs, say more of one: {', '.join(named)}{more}"


def _unknown(root: Path, wanted: str, known: Sequence[tuple[Record, Store]]) -> str:
    names = sorted({record.name for record, _ in known})
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.3) or names[:3]
    return (
        f"no run under {root} has {wanted!r} in its name or at the beginning of its id: "
        f"there are {len(known)}, like {', '.join(near)}"
    )


STYLES = {"ok": "bold green", "skipped": "bold", "interrupted": "bold yellow"}
BOUND = {
    "model": "the model sets the pace",
    "both": "model and pipeline share it",
    "pipeline": "the pipeline sets the pace",
}
TIMES = {
    "import_s": "import of the libraries, once a worker",
    "load_s": "reading the source",
    "build_s": "building net and pipeline",
    "first_batch_s": "first batch",
    "compile_s": "compilation",
    "capture_s": "capture of CUDA graphs",
    "warmup_s": "warm-up and ceiling",
    "train_s": "training clock",
    "train_device_s": "of it on the device",
    "fit_s": "of it fitting on data",
    "evaluate_s": "evaluation",
    "total_s": "the whole run",
}


def render(
    found: FoundRun,
    *,
    width: int | None = None,
    color: bool = False,
) -> str:
    """A run as text.

    Args:
        found: The run.
        width: Of the terminal; None for a file, where lines may be long.
        color: Whether bold and colours may be used.
    """
    record = found.record
    out = StringIO()
    console = Console(
        file=out, width=width or 10_000, force_terminal=color, no_color=not color,
        color_system="standard" if color else None, highlight=False,
    )  # fmt: skip
    style = STYLES.get(record.status, "bold red")
    console.print(Text.assemble((record.name, "bold"), "  ", (record.status, style)))
    for title, lines in _sections(found, width=width, color=color):
        console.print(Text(f"\n{title}", "bold"))
        for row in lines:
            console.print(row, soft_wrap=width is None)
    console.print(Text("\ntrain it again", "bold"))
    command = rerun_command(record, found.root)
    console.print(Text(command), soft_wrap=True)  # one line to copy
    return out.getvalue()


def as_json(found: FoundRun) -> str:
    """The record as JSON, indented."""
    return msgspec.json.format(encode(found.record), indent=2).decode() + "\n"


def _sections(
    found: FoundRun, *, width: int | None, color: bool
) -> Iterator[tuple[str, Sequence[Text]]]:
    record, metrics = found.record, found.record.metrics
    yield "run", _texts(_run(found))
    yield "cell", _texts([_cell(record.cell), f"recipe: {_recipe(record.cell)}"])
    if record.error is not None:
        yield "error", _texts(_error(found))
    if metrics is not None:
        yield "scores", _texts(_scores(record))
    if record.curve:
        yield "curve", curve(record.curve, width=width)
    if metrics is not None and metrics.per_class:
        yield (
            "confusion: true classes down, predictions across",
            confusion(metrics, width=width, color=color),
        )
        yield "classes", per_class(metrics, width=width)
    yield "times", _texts(_times(record))
    yield "speed and memory", _texts([*_speed(record), *_memory(record)])
    yield "machine and software", _texts(_environment(record))
    if found.earlier:
        yield "earlier attempts", _texts(_attempt(earlier) for earlier in found.earlier)


def _texts(lines: Sequence[str] | Iterator[str]) -> list[Text]:
    return [Text(printable(line)) for line in lines]


def _run(found: FoundRun) -> Iterator[str]:
    record = found.record
    yield f"id {record.run_id}, seed {record.seed}, attempt {record.attempt}"
    yield f"record: {found.store.record_path(record.run_id)}"
    if record.started:
        yield f"from {_moment(record.started)} to {_moment(record.finished)}"
    if record.command:
        yield f"command: {record.command}"
    entries = ", ".join(f"{kind} v{number}" for kind, number in sorted(record.versions.items()))
    yield f"entries: {entries or 'unknown'}; images {record.fingerprint}"
    for reason in record.timing_suspect:
        yield f"timing suspect: {reason}"


def _moment(text: str) -> str:
    return text.replace("T", " ").replace("+00:00", " UTC")


def _cell(cell: Cell) -> str:
    def images(name: str, count: int | None) -> str:
        return f"{'all' if count is None else f'{count:,}'} {name}"

    counts = (
        images("training", cell.train_images),
        images("validation", cell.validation_images),
        images("test images", cell.test_images),
    )
    labels = cell.labels()
    special = [name for name, info in FIELDS.items() if info.quiet]
    special = [labels[name] for name in special if not is_default(name, getattr(cell, name))]
    return (
        f"{cell.source} at {cell.scale} scale on {cell.device}: {cell.epochs} epochs of batches of "
        f"{cell.batch_size}, width {cell.width:g}, {', '.join(counts)}; {cell.precision}, compile "
        f"{'on' if cell.compile else 'off'}, {cell.protocol} protocol, target "
        f"{', '.join([f'{cell.target_accuracy:.1%}', *special])}"
    )


def _recipe(cell: Cell) -> str:
    if cell.recipe is None:
        return "the optimizer's own, of an older version"
    said = ", ".join(f"{name} {value}" for name, value in settings(cell).items())
    return f"{said} ({cell.recipe.origin})" if cell.recipe.origin else said


def _error(found: FoundRun) -> Iterator[str]:
    error = found.record.error
    assert error is not None
    yield f"{error.type}: {error.message}"
    if error.traceback:
        yield error.traceback
    if error.log:
        yield f"log: {found.store.folder / error.log}"


def _scores(record: Record) -> Iterator[str]:
    metrics, cell = record.metrics, record.cell
    assert metrics is not None
    loss = "" if metrics.loss is None else f", loss {metrics.loss:.3f}"
    yield (
        f"test: accuracy {metrics.accuracy:.2%}, macro F1 {metrics.macro_f1:.2%}, precision "
        f"{metrics.precision:.2%}, recall {metrics.recall:.2%}{loss}"
    )
    if metrics.one_view_accuracy is not None and metrics.eval_views > 1:
        yield f"test, one view of each image: accuracy {metrics.one_view_accuracy:.2%}"
    if metrics.validation_accuracy is not None:
        yield f"validation after the last epoch: accuracy {metrics.validation_accuracy:.2%}"
    if not cell.holds_out:
        yield "time to accuracy: none, nothing is held out to see it by"
    elif metrics.time_to_accuracy_s is None:
        yield f"time to accuracy: {cell.target_accuracy:.1%} on validation was not reached"
    else:
        with_s = metrics.time_to_accuracy_with_compile_s
        more = "" if with_s is None else f", {with_s:.1f} s with first batch and compilation"
        reached_s = metrics.time_to_accuracy_s
        yield f"time to accuracy: {cell.target_accuracy:.1%} after {reached_s:.1f} s{more}"


def _times(record: Record) -> Iterator[str]:
    for name, said in TIMES.items():
        seconds = getattr(record.timings, name)
        if seconds:
            yield f"{seconds:9.2f} s  {said}"


def _speed(record: Record) -> Iterator[str]:
    speed = record.throughput
    if speed is None:
        yield "no speed was measured"
        return
    step = "" if speed.step_ms is None else f", {speed.step_ms:.1f} ms a step"
    yield f"{speed.median:,.0f} images/s ({speed.p5:,.0f} to {speed.p95:,.0f} over epochs){step}"
    if speed.ceiling is not None and speed.stall_pct is not None:
        yield f"{_stall(speed.stall_pct, speed.ceiling)}; {BOUND[bound_by(speed.stall_pct)]}"
    yield f"the pipeline reads {'the decoded array' if record.reads == 'array' else 'files'}"
    if record.stepping:
        yield f"each step is {record.stepping}"
    if record.compiled:
        yield f"compiled code of net and pipeline: {record.compiled}"
    per_batch = [op for op, draws in record.augmentation_draws.items() if draws != "per sample"]
    if per_batch:
        yield f"drawn once for a whole batch: {', '.join(per_batch)}"


def _stall(stall_pct: float, ceiling: float) -> str:
    if stall_pct < 0:
        return (
            f"{-stall_pct:.1f} % faster than the same steps on one cached batch "
            f"({ceiling:,.0f} images/s): noise, or the machine was busy at one of them"
        )
    return (
        f"{stall_pct:.1f} % of the time went to waiting for data: one cached batch gives "
        f"{ceiling:,.0f} images/s"
    )


def _memory(record: Record) -> Iterator[str]:
    names = {"host_gib": "of the process", "torch_gib": "of tensors", "device_gib": "of the device"}
    known = [
        f"{value:.2f} GiB {said}"
        for name, said in names.items()
        if (value := getattr(record.memory, name)) is not None
    ]
    if known:
        yield f"peak memory: {', '.join(known)}"
    if record.parameters is not None:
        yield f"{record.parameters:,} parameters"
    if record.energy_j is not None:
        yield f"{record.energy_j:,.0f} J"


def _environment(record: Record) -> Iterator[str]:
    known = record.environment
    if not known:
        yield "unknown: the run did not get so far"
        return
    gpu = f"{known['gpu']}, driver {known.get('driver')}, " if known.get("gpu") else ""
    count = known.get("threads")
    threads = f", {count} thread{'s' if count > 1 else ''}" if count else ""
    ram = f", {known['ram_gib']:.0f} GiB" if known.get("ram_gib") else ""
    yield f"{gpu}{known.get('cpu')}, {known.get('cores')} cores{threads}{ram}"
    yield from _places(record)
    if known.get("os"):
        yield str(known["os"])
    yield versions([record]) + (", with changes not committed" if known.get("dirty") else "")


def _places(record: Record) -> Iterator[str]:
    """Which host and GPU of their kind, and who worked beside the run."""
    known, beside = record.environment, record.conditions.neighbours
    gpu = f", GPU {known['gpu_mark']}" if known.get("gpu_mark") else ""
    others = "" if beside is None else f"; {beside or 'no'} other run{'s'[: beside != 1]} beside it"
    if known.get("host"):
        yield f"host {known['host']}{gpu}{others}"


def _attempt(record: Record) -> str:
    reason = record.error.message.splitlines()[0] if record.error and record.error.message else ""
    said = f": {reason}" if reason else ""
    return f"{record.attempt}. {record.status}, {_moment(record.finished)}{said}"


def rerun_command(record: Record, out: Path) -> str:
    """The command that trains exactly this run again.

    Args:
        record: Of any status.
        out: The results folder that holds it.
    """
    words = ["bench", "run", "--rerun", record.run_id, "--out", str(out)]
    if plugins_of(record.versions):
        words += [word for plugin in _plugins_given(record) for word in ("--plugin", plugin)]
    return shell_command(words)


def _plugins_given(record: Record) -> list[str]:
    """The files and modules that the recorded command named with --plugin."""
    try:
        words = shlex.split(record.command.replace("--plugin=", "--plugin "))
        given = [after for word, after in pairwise(words) if word == "--plugin"]
        return [str(Path(plugin).expanduser()) for plugin in given]
    except (ValueError, RuntimeError):  # a command that was cut, a user without a home folder
        return []
