"""HTML from Python: every text and attribute escaped, so that a name from a file stays a name."""

import base64
import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

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


__all__ = ["data", "image", "plain_table", "tag", "text"]
