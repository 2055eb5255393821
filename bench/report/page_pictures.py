"""Pictures on the page: figures as inline SVG, augmented examples, images most often mistaken."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.report.mistakes import Mistake, Mistakes
from bench.report.page_html import image, tag, text

if TYPE_CHECKING:
    from bench.report.figures import Picture

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


__all__ = ["examples_section", "figure_id", "figures_section", "mistakes_section"]
