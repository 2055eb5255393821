"""The HTML page: one file that opens from disk, holds all it shows and asks nothing of a network.

The same contents give the same bytes: nothing in it is of the moment at which it is made.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from bench.record import Record
from bench.report import reasons
from bench.report.made_of import NAME as MADE_OF
from bench.report.made_of import made_of
from bench.report.matrix import Matrix, build
from bench.report.page_about import caption, environment_section, times_section
from bench.report.page_cells import closer_section
from bench.report.page_content import Content
from bench.report.page_html import tag, text
from bench.report.page_matrix import matrix_section
from bench.report.page_pictures import (
    examples_section,
    figure_id,
    figures_section,
    mistakes_section,
)

if TYPE_CHECKING:
    from bench.report.conclusions import Conclusion
    from bench.report.whys import Why

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
        tag("meta", name=MADE_OF, content=made_of((one.records, one.loaders) for one in contents)),
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


__all__ = ["render"]
