"""What the page says of the records themselves: when, where, with what, and where the time went."""

import statistics
from collections import Counter
from collections.abc import Sequence

from bench.record import Record, Timings
from bench.report.matrix import Matrix
from bench.report.page_html import plain_table, tag, text
from bench.report.versions import versions
from bench.wording import count

PARTS = {
    "load_s": "load",
    "build_s": "build",
    "first_batch_s": "first batch",
    "compile_s": "compile",
    "capture_s": "capture",
    "warmup_s": "warm-up",
    "train_s": "train",
    "fit_s": "of it fitting",
    "evaluate_s": "evaluate",
    "total_s": "whole run",
}
UNKNOWN = "not known"
Row = list[tuple[str, float | None] | str]


def caption(records: Sequence[Record]) -> str:
    """Counts, dates and versions, a line each; the dates are the records' own."""
    if not records:
        return ""
    counts = Counter(record.status for record in records)
    ended = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    cells = len({record.cell.identity for record in records})
    lines = [f"{count(cells, 'cell')}, {count(len(records), 'run')}: {ended}."]
    started = sorted(record.started for record in records if record.started)
    finished = sorted(record.finished for record in records if record.finished)
    if started and finished:
        lines.append(f"Recorded from {_moment(started[0])} to {_moment(finished[-1])}.")
    lines.append(versions(records))
    return tag("p", *("".join([text(line), "<br>"]) for line in lines), class_="caption")


def _moment(iso: str) -> str:
    """ "2026-11-24T22:10:25+00:00" as "2026-11-24 22:10 UTC"; another zone as it stands."""
    day, _, rest = iso.partition("T")
    return f"{day} {rest[:5]} UTC" if rest.endswith(("+00:00", "Z")) else iso


def _values(records: Sequence[Record], name: str) -> Counter[str]:
    found = (record.environment.get(name) for record in records)
    return Counter(_shown(value) for value in found if value not in (None, ""))


def _shown(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def environment_section(records: Sequence[Record]) -> str:
    """Each field of the records' environments; where runs differ, how many had which."""
    names = list(dict.fromkeys(name for record in records for name in record.environment))
    rows = []
    for name in names:
        found = _values(records, name)
        if not found:
            continue
        alike = len(found) == 1 and found.total() == len(records)
        said = [
            value if alike else f"{value} ({number} of {len(records)} runs)"
            for value, number in found.most_common()
        ]
        rows.append([name.replace("_", " "), "; ".join(said)])
    commands = Counter(record.command for record in records if record.command)
    rows += [
        ["command", f"{line} ({count(number, 'run')})"] for line, number in commands.most_common()
    ]
    return plain_table(["what", "value"], rows) if rows else tag("p", "Nothing is recorded.")


def times_section(matrix: Matrix[Record]) -> str:
    """Mean seconds of each part of a run by cell, over the seeds that ended well."""
    rows: list[Row] = []
    budgets = matrix.frame["budget"].tolist()
    for runs, budget in zip(matrix.runs, budgets, strict=True):
        good = [run for run in runs if run.status == "ok"]
        if not good:
            continue
        name = runs[0].cell.name
        row: Row = [f"{name} ({budget})" if budget else name]
        parts = {part: _mean(good, part) for part in PARTS}
        row += [(f"{value:.2f}", value) for value in parts.values()]
        stalls = [run.throughput.stall_pct for run in good if run.throughput]
        known = [stall for stall in stalls if stall is not None]
        stall = statistics.fmean(known) if known else None
        row.append((UNKNOWN if stall is None else f"{stall:.1f}", stall))
        rows.append(row)
    if not rows:
        return tag("p", "No run has ended well yet.")
    said = (
        "Seconds, means over seeds. Warm-up holds first batch and compilation; training is the "
        "training clock; the whole run holds what is around these, too. Stall is the share of the "
        "training time that the same net needs no more when its batch is on the device already."
    )
    heads = ["cell", *(f"{name} s" for name in PARTS.values()), "stall %"]
    table = plain_table(heads, rows, sortable=True)
    return tag("p", said) + tag("details", tag("summary", f"{len(rows)} cells"), table)


def _mean(runs: Sequence[Record], part: str) -> float:
    return statistics.fmean(_seconds(run.timings, part) for run in runs)


def _seconds(timings: Timings, part: str) -> float:
    return float(getattr(timings, part))


__all__ = ["caption", "environment_section", "times_section"]
