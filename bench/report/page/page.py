"""The HTML page: one file that opens from disk, holds all it shows and asks nothing of a network.

The same contents give the same bytes: nothing in it is of the moment at which it is made.

What the page says of the records themselves: when, where, with what, and where the time went.

What one group's page is made of, gathered from its folder and its records.

What a page was made of: a sum that stands in it, and tells whether it is up to date.
"""

import base64
import hashlib
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bench.record import Record, Timings
from bench.report import reasons
from bench.report.matrix import Matrix, build, versions
from bench.report.page.cells import closer_section, matrix_section
from bench.report.page.html import (
    examples_section,
    figure_id,
    figures_section,
    mistakes_section,
    plain_table,
    tag,
    text,
)
from bench.report.page.mistakes import Mistakes, find
from bench.store.artifacts import example_name, kept_examples
from bench.store.groups import Group
from bench.store.loaders_record import read
from bench.store.store import Store
from bench.text import count

if TYPE_CHECKING:
    from bench.report.figures.style import Picture
    from bench.report.reasons import Why
    from bench.report.sentences import Conclusion
    from bench.store.loaders_record import LoadersRecord

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


@dataclass(frozen=True, kw_only=True)
class Content:
    """One group.

    Args:
        group: Its folder.
        records: Those to show.
        loaders: What `bench loaders` found there, or None.
        conclusions: What follows from the records.
        pictures: What is drawn of them.
        mistakes: The test images most often mistaken.
        examples: (augmentation, pipeline) to a PNG of augmented training images.
    """

    group: Group
    records: Sequence[Record]
    loaders: "LoadersRecord | None" = None
    conclusions: Sequence["Conclusion"] = ()
    pictures: Sequence["Picture"] = ()
    mistakes: Mistakes = field(default_factory=Mistakes)
    examples: Mapping[tuple[str, str], bytes] = field(default_factory=dict)


def gather(
    group: Group,
    records: Sequence[Record],
    *,
    data_dir: Path | None = None,
    report: Callable[[str], None],
) -> Content:
    """Concludes, draws, and reads what lies in the group's folder.

    Args:
        group: Its folder.
        records: Those of its records to show.
        data_dir: Where sources are cached, for pictures of images most often mistaken.
        report: Gets lines about progress.

    Raises:
        StoreError: A file in the folder cannot be read.
    """
    from bench.report.conclusions import conclude
    from bench.report.figures import draw

    store = Store(group.folder)
    loaders = read(group.folder)
    report(f"{group.name}: {len(records)} records")
    return Content(
        group=group,
        records=records,
        loaders=loaders,
        conclusions=conclude(records),
        pictures=draw(records, loaders),
        mistakes=find(store, records, data_dir),
        examples=_examples(store, records),
    )


def _examples(store: Store, records: Sequence[Record]) -> dict[tuple[str, str], bytes]:
    """The strips of the policies and pipelines that these records are of."""
    kept = kept_examples(store)
    cells = [record.cell for record in records if example_name(record.cell) in kept]
    return {(cell.augmentation, cell.pipeline): kept[example_name(cell)] for cell in cells}


NAME = "made-of"  # of the page's <meta>
_META = re.compile(rf'<meta name="{NAME}" content="([0-9a-f]{{64}})">')
HEAD = 4096  # characters of a page, in which it stands


def made_of(groups: Iterable[tuple[Sequence[Record], "LoadersRecord | None"]]) -> str:
    """The sum over the records, and what `bench loaders` found, of each group of a page."""
    digest = hashlib.sha256()
    for records, loaders in groups:
        for record in records:
            digest.update(f"{record.run_id} {record.content_hash}\n".encode())
        digest.update(msgspec.json.encode(loaders, enc_hook=str) + b"\n")
    return digest.hexdigest()


def read_sum(page: str) -> str:
    """The sum that stands in a page; "" in one that has none."""
    found = _META.search(page[:HEAD])
    return found[1] if found else ""


ASSETS = Path(__file__).parent / "assets"
FOLDED = frozenset({"interactions", "pipelines", "cannot tell"})  # long, and read by few
SECTIONS = {
    "conclusions": "Conclusions",
    "matrix": "Matrix",
    "figures": "Figures",
    "closer": "One cell closely",
    "mistakes": "Images most often mistaken",
    "examples": "Augmented examples",
    "times": "Where the time went",
    "environment": "Environment",
}


def render(contents: Sequence[Content]) -> str:
    """The page of one or more groups.

    Args:
        contents: A part of the page for each, in this order.
    """
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    script = (ASSETS / "page.js").read_text(encoding="utf-8")
    matrices = [build(content.records) for content in contents]
    titles = [_title(content, matrix) for content, matrix in zip(contents, matrices, strict=True)]
    parts = [
        _group(content, matrix, title, f"g{number}")
        for number, (content, matrix, title) in enumerate(
            zip(contents, matrices, titles, strict=True)
        )
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name=NAME, content=made_of((one.records, one.loaders) for one in contents)),
        tag("title", text(f"pipeline-bench: {titles[0]}" if titles else "pipeline-bench")),
        f"<style>{style}</style>",
    )
    main = tag("main", *parts, _reasons(reasons.chapters(), reasons.entries()))
    body = tag("body", _header(titles), main, f"<script>{script}</script>")
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _policy(script: str) -> str:
    """Allows what the page holds: its own script by its hash, no other, and no network."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _title(content: Content, matrix: Matrix[Record]) -> str:
    return matrix.title if content.records else content.group.name


def _header(titles: Sequence[str]) -> str:
    links = [
        tag("li", tag("a", text(title), href=f"#g{number}")) for number, title in enumerate(titles)
    ]
    groups = tag("ul", *links) if len(titles) > 1 else ""
    return tag("header", tag("h1", "pipeline-bench report"), groups)


def _group(content: Content, matrix: Matrix[Record], title: str, prefix: str) -> str:
    made = {
        "conclusions": _conclusions(content, prefix),
        "matrix": matrix_section(matrix, prefix),
        "figures": figures_section(content.pictures, prefix),
        "closer": closer_section(matrix, prefix),
        "mistakes": mistakes_section(content.mistakes),
        "examples": examples_section(content.examples),
        "times": times_section(matrix),
        "environment": environment_section(content.records),
    }
    links = [tag("a", name, href=f"#{prefix}-{key}") for key, name in SECTIONS.items() if made[key]]
    nav = tag("nav", *links, tag("a", reasons.TITLE, href="#reasons"), aria_label="Parts")
    sections = [
        tag("section", tag("h3", SECTIONS[key]), content_html, id=f"{prefix}-{key}")
        for key, content_html in made.items()
        if content_html
    ]
    head, *rest = title.split(" | ")
    if content.group.reference:
        rest.append("reference, shipped with the suite")
    lead = tag("p", text(" · ".join(rest)), class_="lead") if rest else ""
    return tag(
        "article", tag("h2", text(head)), lead, caption(content.records), nav, *sections, id=prefix
    )


def _conclusions(content: Content, prefix: str) -> str:
    if not content.conclusions:
        return tag("p", "There is nothing to conclude yet.")
    drawn = {picture.name: picture.title for picture in content.pictures}
    parts = []
    for kind, said in groupby(content.conclusions, key=lambda conclusion: conclusion.kind):
        lines = [_conclusion(conclusion, drawn, prefix) for conclusion in said]
        listed = tag("ul", *lines)
        name = kind[:1].upper() + kind[1:]
        if kind in FOLDED:
            head = tag("summary", tag("h4", text(f"{name} ({len(lines)})")))
            parts.append(tag("details", head, listed))
        else:
            parts.append(tag("section", tag("h4", text(name)), listed))
    return tag("div", *parts, class_="conclusions")


def _conclusion(conclusion: "Conclusion", drawn: Mapping[str, str], prefix: str) -> str:
    links = [
        tag("a", text(drawn[name]), href=f"#{figure_id(name, prefix)}")
        for name in conclusion.figures
        if name in drawn
    ]
    seen = tag("span", *(f" {link}" for link in links), class_="seen") if links else ""
    return tag("li", text(conclusion.text) + seen)


def _reasons(said: Sequence[reasons.Chapter], found: Mapping[str, Sequence["Why"]]) -> str:
    parts = [tag("h2", reasons.TITLE), tag("p", reasons.LEAD)]
    for chapter in said:
        terms = [
            tag("dt", text(reason.what)) + tag("dd", text(reason.why)) for reason in chapter.reasons
        ]
        content = tag("dl", *terms)
        parts.append(tag("details", tag("summary", text(chapter.title)), content))
    for kind, whys in found.items():
        terms = [tag("dt", tag("code", text(why.name))) + tag("dd", text(why.why)) for why in whys]
        content = tag("dl", *terms, class_="entries")
        parts.append(tag("details", tag("summary", f"Why these {kind}"), content))
    return tag("article", *parts, id="reasons")
