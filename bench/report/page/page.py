"""The HTML report: one file that opens from disk, holds all it shows and needs no network.

The same contents give the same bytes: nothing in it depends on when it is made.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cell import AXES, HPARAMS, plain_text
from bench.record import Record
from bench.report import reasons
from bench.report.columns import COLUMNS, MORE_COLUMNS, Column
from bench.report.matrix import Matrix, build, versions
from bench.report.page.contents import Content, checksum
from bench.report.render import ABSENT, columns_of, is_missing, shown
from bench.report.rows import Outcome, settings
from bench.report.show import rerun_command
from bench.text import count

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

HERE = Path(__file__).parent
SECTIONS = {
    "conclusions": "Conclusions",
    "matrix": "Matrix",
    "figures": "Figures",
    "closer": "Single cells",
    "mistakes": "Images most often misclassified",
    "examples": "Augmented examples",
    "environment": "Environment",
}
FOLDED = frozenset({"pipelines", "cannot tell"})  # long, and read by few
ROW_HEIGHT = 0.9  # of a row in the grid of figures, in widths of a figure
FILTERS = (*AXES, "status")
DIGITS = 6  # significant digits in the data of single cells; the page shows fewer
MAX_CONFUSION_CLASSES = 20  # with more classes, the most frequent confusions are listed
MAX_CONFUSIONS = 40

_VIEW_BOX = re.compile(r'viewBox="\S+ \S+ (\S+) (\S+)"')


def render(contents: Sequence[Content]) -> str:
    """The page of one or more groups, in this order."""
    script = (HERE / "assets" / "page.js").read_text(encoding="utf-8")
    essay = reasons.essay()
    return (
        environment()
        .get_template("page.html")
        .render(
            groups=[_group(content, f"g{number}") for number, content in enumerate(contents)],
            sections=SECTIONS,
            reasons={
                "title": essay.title,
                "lead": essay.lead,
                "chapters": essay.chapters,
                "entries": reasons.entries(),
            },
            checksum=checksum((content.records, content.loaders) for content in contents),
            policy=_policy(script),
            style=(HERE / "assets" / "page.css").read_text(encoding="utf-8"),
            script=script,
        )
    )


@cache
def environment() -> "Environment":
    """Jinja2 with the page's filters; every text is escaped unless marked safe."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    found.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    found.filters |= {"code": _code, "png": _data_url, "grid_rows": _grid_rows}
    return found


def _code(value: object) -> "Markup":
    """A text as HTML; what stands between backticks becomes code."""
    from markupsafe import Markup, escape

    parts = [escape(part) for part in str(value).split("`")]
    if len(parts) % 2 == 0:
        return Markup("`").join(parts)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts)
    )


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _grid_rows(svg: str) -> int:
    """Rows of the grid that a figure takes: several short ones fit beside a tall one."""
    box = _VIEW_BOX.search(svg)
    if box is None:
        return 1
    width, height = map(float, box.groups())
    return max(1, round(height / width / ROW_HEIGHT))


def _policy(script: str) -> str:
    """Allows the page's own script by its hash, no other script, and no network."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _group(content: Content, prefix: str) -> dict[str, Any]:
    """What the template shows of one group."""
    matrix = build(content.records)
    full_title = matrix.title if content.records else content.group.name
    title, *lead = full_title.split(" | ")
    if content.group.reference:
        title, full_title = f"{title} (reference)", f"reference | {full_title}"
        lead.append("shipped with the suite")
    return {
        "prefix": prefix,
        "full_title": full_title,
        "title": title,
        "lead": " · ".join(lead),
        "caption": _caption(content.records),
        "conclusions": _conclusions(content),
        "matrix": _matrix(matrix) if len(matrix.frame) else None,
        "pictures": content.pictures,
        "cells": [cell_data(outcome, content.group.folder.parent) for outcome in matrix.outcomes],
        "mistakes": content.mistakes,
        "examples": sorted(content.examples.items()),
        "environment": list(_environment(content.records)),
    }


def _caption(records: Sequence[Record]) -> list[str]:
    """Counts, dates and versions, a line each."""
    if not records:
        return []
    counts = Counter(record.status for record in records)
    statuses = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    cells = len({record.cell.identity for record in records})
    lines = [f"{count(cells, 'cell')}, {count(len(records), 'run')}: {statuses}."]
    started = sorted(record.started for record in records if record.started)
    finished = sorted(record.finished for record in records if record.finished)
    if started and finished:
        lines.append(f"Recorded from {_minute(started[0])} to {_minute(finished[-1])}.")
    return [*lines, versions(records)]


def _minute(iso: str) -> str:
    """ "2026-11-24T22:10:25+00:00" as "2026-11-24 22:10 UTC"; another time zone unchanged."""
    day, _, rest = iso.partition("T")
    return f"{day} {rest[:5]} UTC" if rest.endswith(("+00:00", "Z")) else iso


def _conclusions(content: Content) -> list[dict[str, Any]]:
    """Conclusions by kind, with links to the figures that there are."""
    titles = {picture.name: picture.title for picture in content.pictures}
    return [
        {
            "title": kind[:1].upper() + kind[1:],
            "folded": kind in FOLDED,
            "lines": [
                {
                    "text": conclusion.text,
                    "links": [
                        (name, titles[name]) for name in conclusion.figures if name in titles
                    ],
                }
                for conclusion in conclusions
            ],
        }
        for kind, conclusions in groupby(content.conclusions, key=lambda one: one.kind)
    ]


def _matrix(matrix: Matrix[Record]) -> dict[str, Any]:
    """The table with its filters; columns beyond the usual ones are hidden until chosen."""
    usual, _ = shown(matrix.frame, None)
    known = {*usual, *matrix.frame.columns, "notes"}
    more = [name for name in (*COLUMNS, *MORE_COLUMNS) if name in known and name not in usual]
    texts, best = shown(matrix.frame, [*usual, *more])
    texts = {name: column for name, column in texts.items() if name in usual or _has_text(column)}
    columns = columns_of(texts)
    rows: list[dict[str, Any]] = matrix.frame.to_dict(orient="records")  # type: ignore[assignment]
    return {
        "filters": {name: sorted({str(row[name]) for row in rows}) for name in FILTERS},
        "columns": [
            {
                "name": name,
                "header": column.header,
                "css": "n" if column.is_number else None,
                "first": "descending" if column.best == "highest" else "ascending",
                "usual": name in usual,
            }
            for name, column in columns.items()
        ],
        "rows": [
            {
                "failed": row["status"] != "ok",
                "marks": {f"data-{name}": str(row[name]) for name in FILTERS},
                "cells": [
                    {
                        "text": column_texts[index],
                        "best": index in best[name],
                        "attributes": {
                            "class": _css(name, columns[name], column_texts[index]),
                            "data-v": _sort_value(row.get(name), columns[name]),
                            "hidden": None if name in usual else "",
                        },
                    }
                    for name, column_texts in texts.items()
                ],
            }
            for index, row in enumerate(rows)
        ],
    }


def _has_text(column: Sequence[str]) -> bool:
    return any(value not in ("", ABSENT, "None", "nan") for value in column)


def _css(name: str, column: Column, text: str) -> str | None:
    if name in ("notes", "budget") and text:
        return f"long {name}"
    return "n" if column.is_number else None


def _sort_value(value: Any, column: Column) -> str | None:
    """The number that a cell is sorted by: "" for a missing one; None in a column of texts."""
    return None if not column.is_number else "" if is_missing(value) else repr(value)


def _environment(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Each field of the environments and the commands; where runs differ, how many had which."""
    for name in dict.fromkeys(name for record in records for name in record.environment):
        values = [record.environment.get(name) for record in records]
        counts = Counter(_environment_text(value) for value in values if value not in (None, ""))
        if not counts:
            continue
        same = len(counts) == 1 and counts.total() == len(records)
        texts = [
            value if same else f"{value} ({number} of {len(records)} runs)"
            for value, number in counts.most_common()
        ]
        yield name.replace("_", " "), "; ".join(texts)
    commands = Counter(record.command for record in records if record.command)
    for line, number in commands.most_common():
        yield "command", f"{line} ({count(number, 'run')})"


def _environment_text(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def cell_data(outcome: Outcome[Record], results: Path) -> dict[str, Any]:
    """One row of the matrix as data for the page's script."""
    name, runs = outcome.cell.name, sorted(outcome.runs, key=lambda run: run.seed)
    classes = [run.metrics.per_class for run in outcome.runs if run.metrics is not None]
    return {
        "name": name,
        "title": f"{name} ({outcome.budget})" if outcome.budget else name,
        "settings": _settings(outcome.runs[0]),
        "classes": [scores.name for scores in classes[0]] if classes else [],
        "runs": [_run_data(run, results) for run in runs],
    }


def _settings(record: Record) -> dict[str, str]:
    cell = record.cell
    texts = {
        name.replace("_", " "): plain_text(getattr(cell, name))
        for name in HPARAMS
        if name not in AXES
    }
    if record.parameters:
        texts["parameters"] = f"{record.parameters:,}"
    texts |= {name.replace("_", " "): value for name, value in settings(cell).items()}
    if cell.recipe is not None and cell.recipe.origin:
        texts["recipe from"] = cell.recipe.origin
    return texts


def _run_data(record: Record, results: Path) -> dict[str, Any]:
    metrics, throughput, timings = record.metrics, record.throughput, record.timings
    fields: dict[str, Any] = {
        "seed": record.seed,
        "id": record.run_id,
        "status": record.status,
        "reason": f"{record.error.type}: {record.error.message}" if record.error else "",
        "suspect": "; ".join(record.timing_suspect),
        "rerun": rerun_command(record, results),
        "train_s": _rounded(timings.train_s),
        "total_s": _rounded(timings.total_s),
        "images_per_s": _rounded(throughput.median if throughput else None),
        "stall_pct": _rounded(throughput.stall_pct if throughput else None),
    }
    if metrics is not None:
        for name in ("accuracy", "macro_f1", "precision", "recall", "time_to_accuracy_s"):
            fields[name] = _rounded(getattr(metrics, name))
        fields |= _confusion(metrics.confusion)
        fields["per_class"] = [
            [_rounded(one.precision), _rounded(one.recall), _rounded(one.f1), one.support]
            for one in metrics.per_class
        ]
    return fields


def _confusion(counts: Sequence[Sequence[int]]) -> Mapping[str, Any]:
    """The matrix, or for many classes the most frequent [true, predicted, images]."""
    if len(counts) <= MAX_CONFUSION_CLASSES:
        return {"confusion": counts}
    pairs = [
        [true, predicted, number]
        for true, row in enumerate(counts)
        for predicted, number in enumerate(row)
        if true != predicted and number
    ]
    return {"confused": sorted(pairs, key=lambda pair: -pair[2])[:MAX_CONFUSIONS]}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")
