"""One run for people: its record in words, its curve and its confusion matrix."""

from collections.abc import Iterator, Sequence
from io import StringIO

from rich.console import Console
from rich.text import Text

from bench.cell import Cell
from bench.printable import printable
from bench.record import Record
from bench.record_text import encode
from bench.report.finding import Found
from bench.report.matrix import bound_by
from bench.report.settings import settings
from bench.report.show_parts import confusion, curve, per_class
from bench.report.versions import versions

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
    found: Found,
    *,
    command: str = "",
    note: str = "",
    width: int | None = None,
    color: bool = False,
) -> str:
    """A run as text.

    Args:
        found: The run.
        command: That trains only it again; "" for none.
        note: What to know before, or why there is no such command.
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
        for line in lines:
            console.print(line, soft_wrap=width is None)
    console.print(Text("\nagain", "bold"))
    if command:
        console.print(Text(command), soft_wrap=True)  # one line to copy
    if note:
        console.print(Text(note))
    return out.getvalue()


def as_json(found: Found) -> str:
    """The record as it is filed."""
    return encode(found.record).decode()


def _sections(
    found: Found, *, width: int | None, color: bool
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


def _run(found: Found) -> Iterator[str]:
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
    views = f", {cell.eval_views} views of each image" if cell.eval_views > 1 else ""
    return (
        f"{cell.source} at {cell.scale} scale on {cell.device}: {cell.epochs} epochs of batches of "
        f"{cell.batch_size}, width {cell.width:g}, {', '.join(counts)}; {cell.precision}, compile "
        f"{'on' if cell.compile else 'off'}, {cell.protocol} protocol, target "
        f"{cell.target_accuracy:.1%}{views}"
    )


def _recipe(cell: Cell) -> str:
    if cell.recipe is None:
        return "the optimizer's own, of an older version"
    said = ", ".join(f"{name} {value}" for name, value in settings(cell).items())
    return f"{said} ({cell.recipe.origin})" if cell.recipe.origin else said


def _error(found: Found) -> Iterator[str]:
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


__all__ = ["as_json", "render"]
