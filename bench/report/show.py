"""`bench show`: finds a run by its id or name, and renders it."""

import difflib
import math
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import msgspec

from bench.cell import FIELDS, Cell, is_default, plugins_of
from bench.errors import UsageError
from bench.record import Metrics, Point, Record
from bench.report.columns import Column
from bench.report.matrix import versions
from bench.report.render import ABSENT, BOLD, Table, styled
from bench.report.rows import bound_by, settings
from bench.store.codec import encode
from bench.store.groups import REFERENCE, groups
from bench.store.store import Store, to_stderr
from bench.text import Log, count, printable, sanitize, shell_command, wrapped

MAX_CANDIDATES = 8  # runs listed in a message
MAX_CONFUSED = 8  # pairs of classes to list
STYLES = {"ok": "1;32", "skipped": BOLD, "interrupted": "1;33"}  # others are red
CURVE = (  # header, field and format
    ("epoch", "epoch", "d"),
    ("train s", "train_s", ".2f"),
    ("train loss", "train_loss", ".3f"),
    ("val. loss", "validation_loss", ".3f"),
    ("val. acc.", "validation_accuracy", ".1%"),
    ("images/s", "images_per_s", ".0f"),
)
TIMES = {
    "import_s": "importing libraries, once per worker",
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
MAX_EPOCHS = 20  # rows of the curve
FILE_WIDTH = 100  # width of the confusion matrix outside a terminal


@dataclass(frozen=True, kw_only=True)
class FoundRun:
    """A run, the group that holds it, its earlier attempts (oldest first) and results folder."""

    record: Record
    store: Store
    earlier: list[Record]
    root: Path


def find_run(
    root: Path, wanted: str, on_warning: Log = to_stderr, *, any_group: bool = False
) -> FoundRun:
    """The run with this id or name, or the only one whose id starts with it or name contains it.

    Runs of reference matrices are found if no other run matches.

    Args:
        root: A results folder, or one group in it.
        on_warning: Called with a sentence about each damaged record.
        any_group: Whether to accept a run that several groups have.

    Raises:
        StoreError: There is no such folder, or it cannot be read.
        UsageError: No run matches, or several do; the message names the candidates.
    """
    known: dict[bool, list[tuple[Record, Store]]] = {False: [], True: []}  # True: the reference
    for group in groups(root):
        store = Store(group.folder)
        records = store.records(on_warning, sanitized=True)
        known[group.reference] += [(record, store) for record in records]
    tests: tuple[Callable[[Record], bool], ...] = (
        lambda record: wanted in (record.run_id, record.name),
        lambda record: bool(wanted) and record.run_id.startswith(wanted),
        lambda record: wanted in record.name,
    )
    for pairs, matches in product(known.values(), tests):
        found = [pair for pair in pairs if matches(pair[0])]
        same_run = len({record.run_id for record, _ in found}) == 1
        if len(found) > 1 and not (any_group and same_run):
            raise UsageError(_ambiguous(wanted, found))
        if found:
            record, store = found[0]
            top = Path(os.path.normpath(root / "..")) if store.folder == root else root
            earlier = [sanitize(attempt) for attempt in store.attempts(record.run_id)]
            return FoundRun(record=record, store=store, earlier=earlier, root=top)
    runs = [record for pairs in known.values() for record, _ in pairs]
    if not runs:
        raise UsageError(f"there are no records under {root}: `bench run` makes some")
    names = sorted({record.name for record in runs})
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.3) or names[:3]
    raise UsageError(
        f"no run under {root} has {wanted!r} in its name or at the start of its id: there are "
        f"{len(runs)} runs, such as {', '.join(near)}"
    )


def _ambiguous(wanted: str, found: Sequence[tuple[Record, Store]]) -> str:
    if len({record.run_id for record, _ in found}) == 1:
        folders = ", ".join(str(store.folder) for _, store in found)
        return f"{wanted!r} is in several groups, name one of them after it: {folders}"
    names = [f"{record.name} ({record.run_id[:8]})" for record, _ in found[:MAX_CANDIDATES]]
    rest = len(found) - MAX_CANDIDATES
    more = f" and {rest} more" if rest > 0 else ""
    return f"{wanted!r} matches {len(found)} runs, be more specific: {', '.join(names)}{more}"


def render(found: FoundRun, *, width: int | None = None, color: bool = False) -> str:
    """A run as text; `width` is the terminal's, or None for unlimited lines."""
    record = found.record
    status = styled(record.status, STYLES.get(record.status, "1;31"), color)
    drawn = [f"{styled(record.name, BOLD, color)}  {status}"]
    for title, parts in _sections(found, width=width or FILE_WIDTH):
        drawn += ["", styled(title, BOLD, color)]
        for part in parts:
            if isinstance(part, Table):
                drawn.append(part.terminal(width=width, color=color).rstrip())
            else:
                drawn += [wrapped(line, width) for line in printable(part).split("\n")]
    command = rerun_command(record, found.root)  # one line to copy
    return "\n".join([*drawn, "", styled("train it again", BOLD, color), command]) + "\n"


def as_json(found: FoundRun) -> str:
    """The record as JSON, indented."""
    return msgspec.json.format(encode(found.record), indent=2).decode() + "\n"


def _sections(found: FoundRun, *, width: int) -> Iterator[tuple[str, Iterable[str | Table]]]:
    record, metrics, error = found.record, found.record.metrics, found.record.error
    yield "run", _run(found)
    yield "cell", _cell(record.cell)
    if error is not None:
        log = f"log: {found.store.folder / error.log}" if error.log else ""
        yield "error", filter(None, (f"{error.type}: {error.message}", error.traceback, log))
    if metrics is not None:
        yield "scores", _scores(record.cell, metrics)
    if record.curve:
        yield "curve", [curve(record.curve)]
    if metrics is not None and metrics.per_class:
        matrix = confusion(metrics, width=width)
        yield "confusion matrix: true classes down, predictions across", matrix
        yield "classes", [per_class(metrics)]
    times = {label: getattr(record.timings, name) for name, label in TIMES.items()}
    yield "times", [f"{seconds:9.2f} s  {label}" for label, seconds in times.items() if seconds]
    yield "speed and memory", [*_speed(record), *_memory(record)]
    yield "machine and software", _environment(record)
    if found.earlier:
        yield "earlier attempts", map(_attempt, found.earlier)


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


def _cell(cell: Cell) -> Iterator[str]:
    quiet = [name for name, info in FIELDS.items() if info.quiet]
    usual = [name for name in quiet if is_default(name, getattr(cell, name))]
    yield ", ".join(text for name, text in cell.labels().items() if name not in usual)
    recipe = ", ".join(f"{name} {value}" for name, value in settings(cell).items())
    if cell.recipe is None:
        recipe = "the optimizer's own (not recorded by this older version)"
    elif cell.recipe.origin:
        recipe += f" ({cell.recipe.origin})"
    yield f"recipe: {recipe}"


def _scores(cell: Cell, metrics: Metrics) -> Iterator[str]:
    loss = "" if metrics.loss is None else f", loss {metrics.loss:.3f}"
    yield (
        f"test: accuracy {metrics.accuracy:.2%}, macro F1 {metrics.macro_f1:.2%}, precision "
        f"{metrics.precision:.2%}, recall {metrics.recall:.2%}{loss}"
    )
    if metrics.one_view_accuracy is not None and metrics.eval_views > 1:
        yield f"test, one view of each image: accuracy {metrics.one_view_accuracy:.2%}"
    if metrics.validation_accuracy is not None:
        yield f"validation after the last epoch: accuracy {metrics.validation_accuracy:.2%}"
    reached_s, with_s = metrics.time_to_accuracy_s, metrics.time_to_accuracy_with_compile_s
    if not cell.holds_out:
        yield "time to accuracy: none, as no validation images are held out"
    elif reached_s is None:
        yield f"time to accuracy: {cell.target_accuracy:.1%} on validation not reached"
    else:
        more = "" if with_s is None else f", {with_s:.1f} s with first batch and compilation"
        yield f"time to accuracy: {cell.target_accuracy:.1%} after {reached_s:.1f} s{more}"


def _speed(record: Record) -> Iterator[str]:
    speed = record.throughput
    if speed is None:
        yield "no throughput was measured"
        return
    step = "" if speed.step_ms is None else f", {speed.step_ms:.1f} ms a step"
    yield f"{speed.median:,.0f} images/s ({speed.p5:,.0f} to {speed.p95:,.0f} over epochs){step}"
    if speed.ceiling is not None and speed.stall_pct is not None:
        bound = bound_by(speed.stall_pct).replace("both", "model and pipeline")
        noise = " (negative: noise, or a busy machine)" if speed.stall_pct < 0 else ""
        yield (
            f"{speed.stall_pct:.1f} % of training time spent waiting for data{noise}; ceiling, "
            f"with one cached batch: {speed.ceiling:,.0f} images/s; bound by {bound}"
        )
    yield f"the pipeline reads {'the decoded array' if record.reads == 'array' else 'files'}"
    if record.stepping:
        yield f"each step is {record.stepping}"
    if record.compiled:
        yield f"compiled code of net and pipeline: {record.compiled}"
    per_batch = [op for op, draws in record.augmentation_draws.items() if draws != "per sample"]
    if per_batch:
        yield f"random parameters drawn once per batch: {', '.join(per_batch)}"


def _memory(record: Record) -> Iterator[str]:
    memory = record.memory
    peaks = {"process": memory.host_gib, "tensors": memory.torch_gib, "device": memory.device_gib}
    known = [f"{gib:.2f} GiB ({of})" for of, gib in peaks.items() if gib is not None]
    if known:
        yield f"peak memory: {', '.join(known)}"
    if record.parameters is not None:
        yield f"{record.parameters:,} parameters"
    if record.energy_j is not None:
        yield f"{record.energy_j:,.0f} J"


def _environment(record: Record) -> Iterator[str]:
    known, others = record.environment, record.conditions.neighbours
    if not known:
        yield "unknown: the run ended before they were recorded"
        return
    gpu = f"{known['gpu']}, driver {known.get('driver')}, " if known.get("gpu") else ""
    threads = f", {count(known['threads'], 'thread')}" if known.get("threads") else ""
    ram = f", {known['ram_gib']:.0f} GiB" if known.get("ram_gib") else ""
    yield f"{gpu}{known.get('cpu')}, {known.get('cores')} cores{threads}{ram}"
    if known.get("host"):
        shared = "" if others is None else f"; {count(others, 'other run')} at the same time"
        gpu = f", GPU {known['gpu_mark']}" if known.get("gpu_mark") else ""
        yield f"host {known['host']}{gpu}{shared}"
    if known.get("os"):
        yield str(known["os"])
    yield versions([record]) + (", with uncommitted changes" if known.get("dirty") else "")


def _attempt(record: Record) -> str:
    first = record.error.message.split("\n")[0] if record.error else ""
    why = f": {first}" if first else ""
    return f"{record.attempt}. {record.status}, {_moment(record.finished)}{why}"


def rerun_command(record: Record, out: Path) -> str:
    """The command that trains this run again; `out` is its results folder."""
    out = out.parent if out.name == REFERENCE else out  # never write into the reference
    words = ["bench", "run", "--rerun", record.run_id, "--out", str(out)]
    if plugins_of(record.versions):
        words += [word for plugin in _plugins_given(record) for word in ("--plugin", plugin)]
    return shell_command(words)


def _plugins_given(record: Record) -> list[str]:
    """The values of --plugin in the recorded command."""
    try:
        words = shlex.split(record.command.replace("--plugin=", "--plugin "))
        given = [after for word, after in pairwise(words) if word == "--plugin"]
        return [str(Path(plugin).expanduser()) for plugin in given]
    except (ValueError, RuntimeError):  # a command that was cut, a user without a home folder
        return []


def curve(points: Sequence[Point]) -> Table:
    """Loss, accuracy and speed of at most `MAX_EPOCHS` evenly spaced epochs, including the last."""
    step = math.ceil(len(points) / MAX_EPOCHS)
    rows = [
        [
            ABSENT if (value := getattr(point, name)) is None else format(value, form)
            for _, name, form in CURVE
        ]
        for point in points[::-step][::-1]
    ]
    return _table([header for header, *_ in CURVE], rows)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of numbers; columns without a header are names."""
    return Table(
        columns={
            str(at): Column(header=header, kind="count" if header else "text")
            for at, header in enumerate(headers)
        },
        cells={str(at): [row[at] for row in rows] for at in range(len(headers))},
    )


def confusion(metrics: Metrics, *, width: int) -> list[str | Table]:
    """The confusion matrix, if it fits, and the pairs most often confused."""
    names = [scores.name for scores in metrics.per_class]
    counts = metrics.confusion
    cell = max(3, len(str(max(map(max, counts)))))
    if max(map(len, names)) + (cell + 1) * len(names) > width:
        return [f"{len(names)} classes do not fit here", _most_confused(names, counts)]
    rows = [(name, *map(str, row)) for name, row in zip(names, counts, strict=True)]
    headers = ["", *(name[:cell] for name in names)]
    return [_table(headers, rows), _most_confused(names, counts)]


def _most_confused(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    pairs = sorted(
        (-number / sum(row), names[i], names[j])
        for i, row in enumerate(counts)
        for j, number in enumerate(row)
        if i != j and number
    )
    if not pairs:
        return "no image was misclassified"
    shown = [f"{true} for {other} {-share:.0%}" for share, true, other in pairs[:MAX_CONFUSED]]
    return f"most often mistaken: {', '.join(shown)}"


def per_class(metrics: Metrics) -> Table:
    """The scores of each class."""
    rows = [
        (one.name, f"{one.f1:.1%}", f"{one.precision:.1%}", f"{one.recall:.1%}", f"{one.support}")
        for one in metrics.per_class
    ]
    return _table(("", "F1", "precision", "recall", "images"), rows)
