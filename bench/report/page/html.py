"""HTML from Python: every text and attribute escaped, so that a name from a file stays a name.

Pictures on the page: figures as inline SVG, augmented examples, images most often mistaken.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from bench.report.page.mistakes import Mistake, Mistakes

if TYPE_CHECKING:
    from bench.report.figures.style import Picture

VOID = frozenset({"br", "img", "input", "meta"})


def tag(name: str, /, *content: str, **attributes: str | int | bool | None) -> str:
    """An element.

    Args:
        name: "td".
        content: HTML, put in as it is; `text` makes some of a text.
        attributes: Escaped here. "_" stands for "-", and a last one is dropped ("class_"); None
            and False leave the attribute out.
    """
    shown = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return f"<{name}{shown}>"
    return f"<{name}{shown}>{''.join(content)}</{name}>"


def _attribute(key: str, value: str | int | bool | None) -> str:
    key = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {key}" if value is True else f' {key}="{escape(str(value))}"'


def text(value: object) -> str:
    """A text as HTML; what stands between backticks becomes code."""
    parts = escape(str(value)).split("`")
    if len(parts) % 2 == 0:
        return "`".join(parts)
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))


def data(name: str, value: Any) -> str:
    """A value as JSON that the page's script reads; nothing in it can end the element.

    Raises:
        ValueError: A number in it is not finite.
    """
    plain = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII: no U+2028 either
    for mark in "<>&":
        plain = plain.replace(mark, f"\\u{ord(mark):04x}")
    return f'<script type="application/json" id="{escape(name)}">{plain}</script>'


def image(png: bytes, alt: str, **attributes: str | int | bool | None) -> str:
    """A picture inside the page."""
    coded = base64.b64encode(png).decode()
    return tag("img", src=f"data:image/png;base64,{coded}", alt=alt, **attributes)


def plain_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[tuple[str, float | None] | str]],
    *,
    sortable: bool = False,
) -> str:
    """A table of texts; a pair is a figure as shown and its value, by which it is sorted."""
    head = "".join(_header(name, sortable) for name in headers)
    body = []
    for row in rows:
        cells = [tag("th", text(row[0]), scope="row")] if isinstance(row[0], str) else []
        body.append(tag("tr", *cells, *(_cell(value) for value in row[len(cells) :])))
    return tag(
        "div",
        tag(
            "table",
            tag("thead", tag("tr", head)),
            tag("tbody", "\n".join(body)),
            data_sortable=sortable,
        ),
        class_="box",
        tabindex=0,
    )


def _header(name: str, sortable: bool) -> str:
    content = tag("button", text(name), type="button") if sortable else text(name)
    return tag("th", content, scope="col")


def _cell(value: tuple[str, float | None] | str) -> str:
    if isinstance(value, str):
        return tag("td", text(value))
    shown, figure = value
    return tag("td", text(shown), class_="n", data_v="" if figure is None else repr(figure))


_VIEW_BOX = re.compile(r'viewBox="\S+ \S+ (\S+) (\S+)"')
ROW_SHARE = 0.9  # of a figure's width, what a row of the grid is high
NO_EXAMPLES = (
    "No augmented examples are kept in this folder: runs of this version of the suite leave them."
)


def figures_section(pictures: Sequence["Picture"], prefix: str) -> str:
    """Each picture with its caption; conclusions link to them by name."""
    if not pictures:
        return tag("p", "There is nothing to draw yet.")
    shown = [
        tag(
            "figure",
            tag("h4", text(picture.title)),
            tag("div", picture.svg, class_="box plot", tabindex=0),
            tag("figcaption", text(picture.caption)),
            id=figure_id(picture.name, prefix),
            style=f"grid-row: span {_rows(picture.svg)}",
        )
        for picture in pictures
    ]
    links = [
        tag("a", text(picture.title), href=f"#{figure_id(picture.name, prefix)}")
        for picture in pictures
    ]
    return tag("nav", *links, aria_label="Figures") + tag("div", *shown, class_="figures")


def _rows(svg: str) -> int:
    """Rows of the grid that a figure takes: a long one stands beside several others."""
    found = _VIEW_BOX.search(svg)
    if found is None:
        return 1
    width, height = map(float, found.groups())
    return max(1, round(height / width / ROW_SHARE))


def figure_id(name: str, prefix: str) -> str:
    """What a link to a figure points at."""
    return f"{prefix}-figure-{name}"


def examples_section(examples: Mapping[tuple[str, str], bytes]) -> str:
    """A strip of augmented training images for each policy and pipeline.

    Args:
        examples: (augmentation, pipeline) to PNG.
    """
    if not examples:
        return tag("p", NO_EXAMPLES)
    shown = [
        tag(
            "figure",
            tag("figcaption", tag("b", text(augmentation)), " by ", tag("b", text(pipeline))),
            image(png, f"training images augmented by {augmentation}, done by {pipeline}"),
        )
        for (augmentation, pipeline), png in sorted(examples.items())
    ]
    said = tag(
        "p", "Training images of the first epoch, as the net saw them, normalisation undone."
    )
    return said + tag("div", *shown, class_="strips")


def mistakes_section(mistakes: Mistakes) -> str:
    """The images most often mistaken, or why there are none."""
    parts = [tag("p", text(mistakes.problem))] if mistakes.problem else []
    if mistakes.images:
        shown = (
            f"Compared over {mistakes.runs} runs, each tested on the same {mistakes.test_images} "
            "images. The number is that of the image in the source's test set"
        )
        if mistakes.images[0].index is None:
            shown = shown.replace("in the source's test set", "among those that were tested")
        parts.append(tag("p", f"{shown}, from 0."))
        parts.append(
            tag("ul", *(_mistake(one, mistakes) for one in mistakes.images), class_="faces")
        )
    elif not mistakes.problem:
        parts.append(tag("p", "No run was mistaken."))
    return "".join(parts)


def _mistake(one: Mistake, mistakes: Mistakes) -> str:
    number = one.place if one.index is None else one.index
    label = mistakes.classes[one.label]
    answers = ", ".join(f"{mistakes.classes[name]} {count}" for name, count in one.answers[:3])
    rest = sum(count for _, count in one.answers[3:])
    picture = image(one.picture, f"test image {number}: {label}") if one.picture else ""
    return tag(
        "li",
        picture,
        tag("b", text(label)),
        tag("span", text(f"image {number}")),
        tag("span", text(f"wrong in {one.wrong} of {mistakes.runs}")),
        tag("span", text(answers + (f", others {rest}" if rest else ""))),
    )
