"""Makes matplotlib's SVG fit to stand in a page: own ids, the page's colour, a size that scales."""

import re
from xml.etree import ElementTree

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
FOREGROUND = "#010203"  # drawn where the page's own text colour is to stand
FONT = "'DejaVu Sans'"  # comes with matplotlib; Verdana, where that is missing, is as wide

_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_INK = re.compile(rf"{FOREGROUND}\b")
_NUMBER = re.compile(r"-?\d+\.\d+")
_UNUSED = ("version",)


def tidy(svg: bytes, *, prefix: str, label: str, cut_top: float) -> str:
    """The SVG element, without an XML declaration.

    Args:
        svg: As matplotlib wrote it.
        prefix: Stands before every id, so that pictures of one page do not share any.
        label: What a screen reader says.
        cut_top: Points to leave out at the top.
    """
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(svg)
    _remove_metadata(root)
    _set_size(root, cut_top)
    root.set("role", "img")
    root.set("aria-label", label)
    used = _references(root)
    for element in root.iter():
        _mend(element, prefix, used)
    return ElementTree.tostring(root, encoding="unicode")


def _remove_metadata(root: ElementTree.Element) -> None:
    for found in root.findall(f"{{{SVG}}}metadata"):
        root.remove(found)


def _set_size(root: ElementTree.Element, cut_top: float) -> None:
    """A viewBox alone: as wide as its place, but no wider than it was drawn for."""
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    root.set("viewBox", f"0 {cut_top:g} {width:g} {height - cut_top:g}")
    for name in ("width", "height", *_UNUSED):
        root.attrib.pop(name, None)
    root.set("style", f"width: 100%; max-width: {width * 1.6:.0f}px; height: auto")


def _references(root: ElementTree.Element) -> set[str]:
    used = set()
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == f"{{{XLINK}}}href" and value.startswith("#"):
                used.add(value[1:])
            used.update(_REFERENCE.findall(value))
    return used


def _mend(element: ElementTree.Element, prefix: str, used: set[str]) -> None:
    """Attributes only: what people read is left as it is."""
    for name, value in list(element.attrib.items()):
        if name == "aria-label":
            continue
        if name == "id":
            if value in used:
                element.set(name, f"{prefix}-{value}")
            else:
                del element.attrib[name]
        elif name == f"{{{XLINK}}}href":
            if value.startswith("#"):
                element.set(name, f"#{prefix}-{value[1:]}")
        else:
            value = _REFERENCE.sub(rf"url(#{prefix}-\1)", value)
            value = _INK.sub("currentColor", value)
            value = value.replace(FONT, f"{FONT}, Verdana, sans-serif")
            element.set(name, _rounded(value) if name in ("d", "x", "y") else value)


def _rounded(text: str) -> str:
    """Hundredths of a point are enough."""
    return _NUMBER.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text)
