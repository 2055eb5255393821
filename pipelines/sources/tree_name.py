"""Names of folder sources: `folder:PATH`, `folder:PATH[size=224,decode]`."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.sources.errors import SourceError
from pipelines.sources.places import expanded

PREFIX = "folder:"
IMAGE_SIZE = 32
SIZES = range(8, 1025)  # pixels per side; limited by nets and memory

_OPTION = r"(?:size=\d{1,9}|decode)"
_SPELLING = re.compile(rf"(?P<path>.*?)(?:\[(?P<options>{_OPTION}(?:,{_OPTION})*)\])?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class TreeName:
    """A folder source.

    Args:
        path: Path of the tree, as written.
        image_size: Pixels per side to which every image is resized.
        decode: Whether pipelines that can decode the files do so in each epoch.
    """

    path: str
    image_size: int = IMAGE_SIZE
    decode: bool = False

    def __post_init__(self) -> None:
        if self.image_size not in SIZES:
            raise SourceError(
                f"images of {self.image_size} pixels a side are not supported for {self.path}; "
                f"the size lies in {SIZES[0]} to {SIZES[-1]}"
            )

    @property
    def root(self) -> Path:
        """The tree's folder, absolute."""
        return expanded(self.path).absolute()

    @property
    def name(self) -> str:
        """The canonical name, without default options."""
        options = [f"size={self.image_size}"] if self.image_size != IMAGE_SIZE else []
        options += ["decode"] if self.decode else []
        return PREFIX + self.path + (f"[{','.join(options)}]" if options else "")


def parse(name: str) -> TreeName:
    """Parses a name that starts with "folder:".

    Raises:
        SourceError: It names no folder, or an invalid size.
    """
    match = _SPELLING.fullmatch(name.removeprefix(PREFIX))
    assert match is not None  # the path matches everything that isn't an option
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
    """A source's canonical name, with size and decoding requested by options.

    Raises:
        SourceError: The source isn't a folder of image files.
    """
    if not name.startswith(PREFIX):
        if decode or image_size is not None:
            option = "--decode" if decode else "--image-size"
            raise SourceError(f"{option} needs image files: --source folder:PATH, not {name!r}")
        return name
    known = parse(name)
    size = known.image_size if image_size is None else image_size
    return replace(known, image_size=size, decode=decode or known.decode).name
