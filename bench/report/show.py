"""`bench show`: finds a run by its id or name, and renders it."""

import difflib
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import msgspec

from bench import naming
from bench.cell import FIELDS, IMAGE_LIMITS, is_default, plugins_of
from bench.errors import UsageError
from bench.record import Metrics, Point, Record
from bench.report.columns import Column, Kind
from bench.report.matrix import SOFTWARE, versions
from bench.report.render import ABSENT, BOLD, Table, styled
from bench.selection import positions
from bench.store.codec import encode
from bench.store.groups import REFERENCE, groups
from bench.store.store import Store, to_stderr
from bench.text import Log, printable, sanitize, shell_command, wrapped

MAX_CANDIDATES = 8  # runs listed in a message
ID_LENGTH = 8  # of a run's id where it tells runs apart
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
SCORES = (
    "accuracy", "one_view_accuracy", "macro_f1", "precision", "recall", "validation_accuracy"
)  # fmt: skip
WORDS = {"_pct": " %", "_gib": " GiB", "_f1": " F1", "_": " "}  # in names of values
CONDITIONS = {  # in words, by field
    "power_w": "the GPU used {:.1f} W",
    "sm_mhz": "the GPU ran at {:.0f} MHz",
    "temperature_c": "the GPU was at most {:.0f} \u00b0C hot",
    "hot_s": "heat slowed the GPU down for {:.1f} s",
    "slowed": "the GPU was slowed down by: {}",
    "gpu_others": "other programs on the GPU: {}",
    "cpu_others_pct": "other programs used {:.1f} % of the CPU",
    "cpu_idle_pct": "{:.1f} % of the CPU was idle",
    "cpu_stolen_pct": "the virtual machine's host took {:.1f} % of the CPU",
    "cpu_waited_pct": "the run waited for a core in {:.1f} % of its time",
    "neighbours": "other runs on this machine: {}",
    "paused_s": "the process did not run for {:.1f} s of the training clock",
}
MAX_EPOCHS = 20  # rows of the curve
MAX_CLASSES = 20  # of the confusion matrix


@dataclass(frozen=True, kw_only=True)
class FoundRun:
    """A run and where it is."""

    name: str  # unique among the other runs
    record: Record
    store: Store  # its group
    earlier: list[Record]  # its earlier attempts, oldest first
    root: Path  # the results folder


Found = tuple[Record, Store]


def find_run(
    root: Path, wanted: str, on_warning: Log = to_stderr, *, any_group: bool = False
) -> FoundRun:
    """The run with this id or name, or the only one whose id starts with it or that matches it.

    Runs of reference matrices are found if no other run matches.

    Args:
        root: A results folder, or one group in it.
        on_warning: Called with a sentence about each damaged record.
        any_group: Whether to accept a run that several groups have.

    Raises:
        StoreError: There is no such folder, or it cannot be read.
        UsageError: No run matches, or several do; the message names the candidates.
    """
    known: dict[bool, list[Found]] = {False: [], True: []}  # True: the reference
    for group in groups(root):
        store = Store(group.folder)
        records = store.records(on_warning, sanitized=True)
        known[group.reference] += [(record, store) for record in records]
    for among in known.values():
        if found := _matching(among, wanted):
            break
    else:
        raise UsageError(_unknown(wanted, root, [record for record, _ in chain(*known.values())]))
    record, store = found[0]
    if len(found) > 1 and not (any_group and len({one.run_id for one, _ in found}) == 1):
        raise UsageError(_ambiguous(wanted, found, among))
    top = Path(os.path.normpath(root / "..")) if store.folder == root else root
    earlier = [sanitize(attempt) for attempt in store.attempts(record.run_id)]
    name = naming.Names(one.cell for one, _ in among)(record.name, record.cell)
    return FoundRun(name=name, record=record, store=store, earlier=earlier, root=top)


def _matching(found: Sequence[Found], wanted: str) -> Sequence[Found]:
    """The runs with this id or name, else whose id starts with it, else that -k would select."""
    for matches in (
        [one for one in found if wanted in (one[0].run_id, one[0].name)],
        [one for one in found if wanted and one[0].run_id.startswith(wanted)],
    ):
        if matches:
            return matches
    with suppress(UsageError):
        places = positions(
            [record.name for record, _ in found],
            lambda: [{one.run_id[:ID_LENGTH], *naming.labels_of(one.cell)} for one, _ in found],
            wanted,
        )
        return [found[place] for place in places]
    return []


def _unknown(wanted: str, root: Path, records: Sequence[Record]) -> str:
    if not records:
        return f"there are no records under {root}: `bench run` makes some"
    shown = naming.Names(record.cell for record in records)
    names = sorted({shown(record.name, record.cell) for record in records})
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.3) or names[:3]
    return (
        f"no run under {root} has {wanted!r} in its name or at the start of its id: there are "
        f"{len(records)} runs, such as {', '.join(near)}"
    )


def _ambiguous(wanted: str, found: Sequence[Found], among: Sequence[Found]) -> str:
    if len({record.run_id for record, _ in found}) == 1:
        folders = ", ".join(str(store.folder) for _, store in found)
        return f"{wanted!r} is in several groups, name one of them after it: {folders}"
    shown = naming.Names(record.cell for record, _ in among)
    listed = sorted(found, key=lambda one: shown(one[0].name, one[0].cell))[:MAX_CANDIDATES]
    names = [shown(record.name, record.cell) for record, _ in listed]
    for at, (record, _) in enumerate(listed):
        if len(_matching(among, names[at])) > 1:
            names[at] = naming.bracketed(record.name, record.run_id[:ID_LENGTH])
    rest = len(found) - MAX_CANDIDATES
    more = f" and {rest} more" if rest > 0 else ""
    return f"{wanted!r} matches {len(found)} runs, be more specific: {', '.join(names)}{more}"


Part = str | Table


def render(found: FoundRun, *, width: int | None = None, color: bool = False) -> str:
    """A run as text; `width` is the terminal's, or None for unlimited lines."""
    record = found.record
    status = styled(record.status, STYLES.get(record.status, "1;31"), color)
    drawn = [f"{styled(found.name, BOLD, color)}  {status}"]
    for title, parts in _sections(found):
        if isinstance(parts, dict):
            size = max(map(len, parts), default=0) + 2
            texts = [f"{name:{size}}{text}" for name, text in parts.items() if text]
            lines = [wrapped(printable(text), width, " " * size) for text in texts]
        else:
            lines = [_drawn(part, width, color) for part in parts]
        if lines:
            drawn += ["", styled(title, BOLD, color), *lines]
    command = rerun_command(record, found.root)  # one line to copy
    return "\n".join([*drawn, "", styled("train it again", BOLD, color), command]) + "\n"


def _drawn(part: Part, width: int | None, color: bool) -> str:
    if isinstance(part, Table):
        return part.terminal(width=width, color=color).rstrip()
    return "\n".join(wrapped(line, width) for line in printable(part).split("\n"))


def as_json(found: FoundRun) -> str:
    """The record as JSON, indented."""
    return msgspec.json.format(encode(found.record), indent=2).decode() + "\n"


def _sections(found: FoundRun) -> Iterator[tuple[str, dict[str, str] | list[Part]]]:
    """Titles with texts and tables, or with texts by name (empty ones are not shown)."""
    record, metrics, error = found.record, found.record.metrics, found.record.error
    yield "run", _run(found)
    if error is not None:
        log = f"log: {found.store.folder / error.log}" if error.log else ""
        yield "error", [*filter(None, (f"{error.type}: {error.message}", error.traceback, log))]
    if metrics is not None:
        scores = _named({name: getattr(metrics, name) for name in SCORES}, "{:.2%}")
        scores |= _named({"loss": metrics.loss}, "{:.3f}")
        yield "scores", scores | {"time to accuracy": _time_to_accuracy(record, metrics)}
    if record.curve:
        yield "curve", [curve(record.curve)]
    if metrics is not None and metrics.per_class:
        yield "confusion matrix: true classes down, predictions across", confusion(metrics)
        yield "classes", [per_class(metrics)]
    times = {name: seconds or None for name, seconds in asdict(record.timings).items()}
    yield "times", _named(times, "{:8.2f}")
    if record.throughput is not None:
        yield "throughput, images/s", _named(asdict(record.throughput), "{:10,.1f}")
    yield "peak memory", _named(asdict(record.memory), "{:8.2f}")
    conditions = asdict(record.conditions)
    conditions["slowed"] = ", ".join(conditions["slowed"]) or None
    known = {name: value for name, value in conditions.items() if value is not None}
    yield "conditions", [CONDITIONS[name].format(value) for name, value in known.items()]
    known = {name: value for name, value in record.environment.items() if name not in SOFTWARE}
    changed = ", with uncommitted changes" if known.pop("dirty", False) else ""
    yield "machine and software", _named(known) | {"software": versions([record]) + changed}
    if found.earlier:
        yield "earlier attempts", [*map(_attempt, found.earlier)]


def _named(values: Mapping[str, Any], form: str = "{}") -> dict[str, str]:
    """The known values by name, formatted."""
    found = {}
    for name, value in values.items():
        for code, words in WORDS.items():
            name = name.replace(code, words)
        if value is not None:
            found[name] = form.format(value)
    return found


def _run(found: FoundRun) -> dict[str, str]:
    record, cell = found.record, found.record.cell
    usual = [n for n, info in FIELDS.items() if info.quiet and is_default(n, getattr(cell, n))]
    if record.image_counts:
        usual += IMAGE_LIMITS
    weights = found.store.weights_path(record.run_id)
    recipe = ", ".join(f"{name} {value}" for name, value in naming.recipe_settings(cell).items())
    if cell.recipe is None:
        recipe = "the optimizer's own (not recorded by this older version)"
    elif cell.recipe.origin:
        recipe += f" ({cell.recipe.origin})"
    entries = (f"{kind} v{number}" for kind, number in sorted(record.versions.items()))
    draws = (op for op, how in record.augmentation_draws.items() if how != "per sample")
    return {
        "id": f"{record.run_id}, seed {record.seed}, attempt {record.attempt}",
        "record": str(found.store.record_path(record.run_id)),
        "weights": str(weights) if weights.is_file() else "",
        "time": record.started and f"{_moment(record.started)} to {_moment(record.finished)}",
        "command": record.command,
        "cell": ", ".join(text for name, text in cell.labels().items() if name not in usual),
        "recipe": recipe,
        "entries": ", ".join(entries),
        "images": ", ".join(filter(None, (record.image_counts, record.fingerprint))),
        "pipeline reads": record.reads,
        "per batch": ", ".join(draws),
        "differing ops": record.op_differences,
        "steps": record.stepping,
        "compiled code": record.compiled,
        **_named({"parameters": record.parameters, "energy_j": record.energy_j}, "{:,.0f}"),
        "timing suspect": "; ".join(record.timing_suspect),
    }


def _moment(text: str) -> str:
    return text.replace("T", " ").replace("+00:00", " UTC")


def _time_to_accuracy(record: Record, metrics: Metrics) -> str:
    cell = record.cell
    with_compile_s = metrics.time_to_accuracy_with_compile_s
    if not cell.holds_out:
        return "none, as no validation images are held out"
    if not record.seeks_target:
        share = f"{metrics.commonest_share or 0:.1%} of the validation images"
        return f"none, as {share} are of one class, and the target is {cell.target_accuracy:.1%}"
    if metrics.time_to_accuracy_s is None or with_compile_s is None:
        return f"{cell.target_accuracy:.1%} on validation not reached"
    return (
        f"{cell.target_accuracy:.1%} after {metrics.time_to_accuracy_s:.1f} s, "
        f"{with_compile_s:.1f} s with first batch and compilation"
    )


def _attempt(record: Record) -> str:
    why = ": " + record.error.message.partition("\n")[0] if record.error else ""
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
    rows = []
    for point in points[::-step][::-1]:
        values = [(getattr(point, name), form) for _, name, form in CURVE]
        rows.append([ABSENT if value is None else format(value, form) for value, form in values])
    return _table([header for header, *_ in CURVE], rows)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of numbers; columns without a header are names."""
    kinds: list[Kind] = ["count" if header else "text" for header in headers]
    pairs = enumerate(zip(headers, kinds, strict=True))
    return Table(
        columns={str(at): Column(header=header, kind=kind) for at, (header, kind) in pairs},
        cells={str(at): list(texts) for at, texts in enumerate(zip(*rows, strict=True))},
    )


def confusion(metrics: Metrics) -> list[Part]:
    """The confusion matrix of at most `MAX_CLASSES`, and the pairs most often confused."""
    names, counts = [scores.name for scores in metrics.per_class], metrics.confusion
    pairs = sorted(
        (-number / sum(row), names[i], names[j])
        for i, row in enumerate(counts)
        for j, number in enumerate(row)
        if i != j and number
    )
    shown = [f"{true} for {other} {-share:.0%}" for share, true, other in pairs[:MAX_CONFUSED]]
    mistakes = f"most often mistaken: {', '.join(shown)}" if shown else "no image was misclassified"
    if len(names) > MAX_CLASSES:
        return [mistakes]
    size = max(3, len(str(max(map(max, counts)))))
    rows = [(name, *map(str, row)) for name, row in zip(names, counts, strict=True)]
    return [_table(["", *(name[:size] for name in names)], rows), mistakes]


def per_class(metrics: Metrics) -> Table:
    """The scores of each class."""
    rows = [
        (one.name, f"{one.f1:.1%}", f"{one.precision:.1%}", f"{one.recall:.1%}", f"{one.support}")
        for one in metrics.per_class
    ]
    return _table(("", "F1", "precision", "recall", "images"), rows)
