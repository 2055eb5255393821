"""How a folder source is spelled: `folder:PATH`, `folder:PATH[size=224,decode]`."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.sources.errors import SourceError
from pipelines.sources.places import expanded

PREFIX = "folder:"
IMAGE_SIZE = 32
SIZES = range(8, 1025)  # pixels a side: below, nets have nothing left; above, memory has

_OPTION = r"(?:size=\d{1,9}|decode)"
_SPELLING = re.compile(rf"(?P<path>.*?)(?:\[(?P<options>{_OPTION}(?:,{_OPTION})*)\])?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class TreeName:
    """A folder source.

    Args:
        path: Of the tree, as it was written.
        image_size: Pixels a side that every image is brought to.
        decode: Whether pipelines that can do so decode the files anew in each epoch.
    """

    path: str
    image_size: int = IMAGE_SIZE
    decode: bool = False

    def __post_init__(self) -> None:
        if self.image_size not in SIZES:
            raise SourceError(
                f"images of {self.image_size} pixels a side cannot be made of {self.path}; "
                f"the size lies in {SIZES[0]} to {SIZES[-1]}"
            )

    @property
    def root(self) -> Path:
        """The tree's folder, absolute."""
        return expanded(self.path).absolute()

    @property
    def name(self) -> str:
        """The one spelling of this source; what is usual is left out."""
        options = [f"size={self.image_size}"] if self.image_size != IMAGE_SIZE else []
        options += ["decode"] if self.decode else []
        return PREFIX + self.path + (f"[{','.join(options)}]" if options else "")


def parse(name: str) -> TreeName:
    """What `name`, which begins with "folder:", means.

    Raises:
        SourceError: It names no folder, or a size that there is none of.
    """
    match = _SPELLING.fullmatch(name.removeprefix(PREFIX))
    assert match is not None  # the path takes what is no option
    if not match["path"]:
        raise SourceError(f"the source {name!r} names no folder; write folder:PATH")
    options = (match["options"] or "").split(",")
    sizes = [int(option.removeprefix("size=")) for option in options if "=" in option]
    return TreeName(
        path=match["path"],
        image_size=sizes[-1] if sizes else IMAGE_SIZE,
        decode="decode" in options,
    )


def with_options(name: str, *, image_size: int | None = None, decode: bool = False) -> str:
    """A source's one spelling, with the size and the decoding that were asked for beside it.

    Raises:
        SourceError: They were asked for a source that is no folder of image files.
    """
    if not name.startswith(PREFIX):
        if decode or image_size is not None:
            asked = "--decode" if decode else "--image-size"
            raise SourceError(f"{asked} needs image files: --source folder:PATH, not {name!r}")
        return name
    known = parse(name)
    size = known.image_size if image_size is None else image_size
    return replace(known, image_size=size, decode=decode or known.decode).name
