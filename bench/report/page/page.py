"""The HTML report: one file that opens from disk, holds all it shows and needs no network.

The same contents give the same bytes: nothing in it depends on when it is made.
"""

import base64
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from bench.cell import AXES, HPARAMS, plain_text
from bench.listing import readable_entries
from bench.naming import bracketed, labels_of, recipe_settings
from bench.record import Record
from bench.report import reasons
from bench.report.columns import ACCURACY, COLUMNS, METRICS, MORE_COLUMNS, SPEED, TIME, column_named
from bench.report.loaders import title as loaders_title
from bench.report.matrix import Matrix, build
from bench.report.page.contents import Content, checksum
from bench.report.render import ABSENT, is_missing, shown
from bench.report.rows import Outcome
from bench.report.show import rerun_command
from bench.text import count

HERE = Path(__file__).parent
SECTIONS = {
    "matrix": "All cells",
    "figures": "Figures",
    "conclusions": "Conclusions and caveats",
    "examples": "Augmented examples",
    "environment": "Environment",
}
KEY = (ACCURACY.name, TIME.name, SPEED.name)  # columns that answer; they come first
MAX_CONFUSION_CLASSES = 20  # with more classes, the most frequent confusions are listed
MAX_CONFUSIONS = 40
PLACES = 4  # decimals of curves


def render(contents: Sequence[Content]) -> str:
    """The page of one or more groups, in this order."""
    script = (HERE / "assets" / "page.js").read_text(encoding="utf-8")
    groups = [_group(content, f"g{number}") for number, content in enumerate(contents)]
    return (
        environment()
        .get_template("page.html")
        .render(
            groups=groups,
            data={group["prefix"]: group["cells"] for group in groups},
            sections=SECTIONS,
            essay=reasons.essay(),
            entries=readable_entries(),
            checksum=checksum((content.records, content.loaders) for content in contents),
            policy=_policy(script),
            style=(HERE / "assets" / "page.css").read_text(encoding="utf-8"),
            script=script,
        )
    )


@cache
def environment() -> Environment:
    """Jinja2 with the page's filters; every text is escaped unless marked safe."""
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    found.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    found.filters |= {"code": _code, "base64": _base64, "number": _sort_value}
    return found


def _code(value: object) -> Markup:
    """A text as HTML; what stands between backticks becomes code."""
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(value))))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _policy(script: str) -> str:
    """Allows the page's own script by its hash, no other script, and no network."""
    return (
        f"default-src 'none'; script-src 'sha256-{_base64(sha256(script.encode()).digest())}'; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _group(content: Content, prefix: str) -> dict[str, Any]:
    """What the template shows of one group."""
    matrix = build(content.records)
    full_title = matrix.title
    if not content.records:
        full_title = loaders_title(content.loaders) if content.loaders else content.group.name
    title, *lead = full_title.split(" | ")
    if content.group.reference:
        title, full_title = f"{title} (reference)", f"reference | {full_title}"
        lead.append("shipped with the suite")
    effects = [picture for picture in content.pictures if picture.name.startswith("effects")]
    return {
        "prefix": prefix,
        "full_title": full_title,
        "title": title,
        "lead": " \N{MIDDLE DOT} ".join(lead),
        "counts": _counts(content.records),
        "answers": content.answers,
        "effects": effects[:1],
        "matrix": _matrix(matrix) if len(matrix.frame) else None,
        "pictures": [picture for picture in content.pictures if picture not in effects[:1]],
        "conclusions": content.conclusions,
        "cells": {
            outcome.id: cell_data(outcome, content.group.folder.parent)
            for outcome in matrix.outcomes
        },
        "examples": sorted(content.examples.items()),
        "environment": list(_environment(content.records)),
    }


def _counts(records: Sequence[Record]) -> str:
    """How many cells and runs there are, and how the runs ended."""
    counts = Counter(record.status for record in records)
    statuses = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    cells = len({record.cell.identity for record in records})
    return f"{count(cells, 'cell')}, {count(len(records), 'run')}: {statuses}" if records else ""


def _matrix(matrix: Matrix[Record]) -> dict[str, Any]:
    """The table; columns beyond the usual ones are hidden until chosen."""
    usual, _ = shown(matrix.frame, None)
    known = {*matrix.frame.columns, "notes"}
    names = (*KEY, *usual, *AXES, *COLUMNS, *MORE_COLUMNS)
    texts, best = shown(matrix.frame, [name for name in dict.fromkeys(names) if name in known])
    notes = texts.pop("notes")
    named = [name for name in texts if name != "budget" and _has_text(texts[name])]
    columns = {name: column_named(name) for name in named}
    return {
        "order": "soonest to the target" if TIME.name in columns else "most accurate",
        "columns": columns,
        "usual": [name for name in columns if name in usual and name not in AXES],
        "key": [name for name in KEY if name in columns],
        "texts": texts,
        "best": best,
        "rows": list(zip(matrix.outcomes, notes, strict=True)),
    }


def _has_text(column: Sequence[str]) -> bool:
    return any(value not in ("", ABSENT, "None", "nan") for value in column)


def _sort_value(outcome: Outcome[Record], name: str) -> str:
    """The number that a cell is sorted by; "" for a missing one."""
    value = outcome.row.get(name)
    return "" if is_missing(value) else repr(value)


def _environment(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Dates, the values of each field of the environment with their numbers of runs, commands."""
    times = sorted(time for record in records for time in (record.started, record.finished) if time)
    if times:
        yield "recorded", f"from {times[0]} to {times[-1]}"
    for name in dict.fromkeys(name for record in records for name in record.environment):
        values = (record.environment.get(name) for record in records)
        counts = Counter(plain_text(value) for value in values if value not in (None, ""))
        texts = [
            text if number == len(records) else f"{text} ({number} of {len(records)} runs)"
            for text, number in counts.most_common()
        ]
        if texts:
            yield name.replace("_", " "), "; ".join(texts)
    commands = Counter(record.command for record in records if record.command)
    for line, number in commands.most_common():
        yield "command", f"{line} ({count(number, 'run')})"


def cell_data(outcome: Outcome[Record], results: Path) -> dict[str, Any]:
    """One row of the matrix as data for the page's script."""
    runs = sorted(outcome.runs, key=lambda run: run.seed)
    name = outcome.cell.name
    return {
        "name": name,
        "title": bracketed(name, outcome.budget),
        "labels": sorted(labels_of(outcome.cell)),
        "settings": _settings(runs[0]),
        "commands": [line for run in runs if (line := rerun_command(run, results))],
        **_runs(outcome, runs),
        **_curves(outcome),
        **_scores(outcome),
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
    texts |= {name.replace("_", " "): value for name, value in recipe_settings(cell).items()}
    if cell.recipe is not None and cell.recipe.origin:
        texts["recipe from"] = cell.recipe.origin
    return texts


def _runs(outcome: Outcome[Record], runs: Sequence[Record]) -> dict[str, Any]:
    """A table of the runs, rendered as the matrix is, and their notes."""
    frame = pd.DataFrame([replace(outcome, runs=(run,)).row for run in runs])
    texts, _ = shown(frame, [*METRICS, "notes"])
    noted = zip(runs, texts.pop("notes"), strict=True)
    notes = [f"seed {run.seed}: {note}" for run, note in noted if note]
    texts = {name: column for name, column in texts.items() if _has_text(column)}
    rows = [
        [run.seed, run.run_id, run.status, *(column[place] for column in texts.values())]
        for place, run in enumerate(runs)
    ]
    heads = ["seed", "run", "status", *(column_named(name).header for name in texts)]
    return {"heads": heads, "runs": rows, "notes": notes}


def _curves(outcome: Outcome[Record]) -> dict[str, Any]:
    """Points of each run: validation accuracy, or training loss without it.

    Against seconds, or against epochs if some times are suspect.
    """
    timed = not outcome.suspect
    points = [point for run in outcome.good for point in run.curve]
    held_out = any(point.validation_accuracy is not None for point in points)
    name, factor = ("validation_accuracy", 100) if held_out else ("train_loss", 1)
    curves = [
        [
            [round(point.train_s if timed else point.epoch, PLACES), round(value * factor, PLACES)]
            for point in run.curve
            if (value := getattr(point, name)) is not None
        ]
        for run in outcome.good
    ]
    return {
        "curves": list(filter(None, curves)),
        "curve_of": "Validation accuracy (%)" if held_out else "Training loss",
        "curve_over": "seconds of training" if timed else "epochs",
    }


def _scores(outcome: Outcome[Record]) -> dict[str, Any]:
    """Confusion and scores of each class over the successful runs."""
    scored = [run.metrics for run in outcome.good if run.metrics is not None]
    if not scored:
        return {}
    names = [one.name for one in scored[0].per_class]
    scored = [metrics for metrics in scored if len(metrics.per_class) == len(names)]
    counts = np.sum([metrics.confusion for metrics in scored], axis=0).tolist()
    per_class, scores = [], ("precision", "recall", "f1")
    for name, *same in zip(names, *(metrics.per_class for metrics in scored), strict=True):
        means = [f"{100 * fmean(getattr(one, of) for one in same):.2f}" for of in scores]
        per_class.append([name, *means, same[0].support])
    images = "images" if len(scored) == 1 else f"images, summed over {len(scored)} runs"
    data: dict[str, Any] = {"classes": names, "images": images, "per_class": per_class}
    if len(counts) <= MAX_CONFUSION_CLASSES:
        return data | {"confusion": counts}
    pairs = [
        [names[true], names[predicted], number]
        for true, row in enumerate(counts)
        for predicted, number in enumerate(row)
        if true != predicted and number
    ]
    return data | {"confused": sorted(pairs, key=lambda pair: -pair[2])[:MAX_CONFUSIONS]}
