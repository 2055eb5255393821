"""Names of sources in files: `folder:PATH`, `folder:PATH[size=224,decode]`, `npz:PATH`.

A canonical name also says where a test set is from that isn't the source's own (`test=20%`: a part
of the only tree of classes; `test=val`: the validation set), and how many bad files are left out
(`skip-bad=3`).
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.sources.errors import SourceError
from pipelines.sources.places import expanded

PREFIX = "folder:"
NPZ = "npz:"
PREFIXES = (PREFIX, NPZ)
IMAGE_SIZE = 32
SIZES = range(8, 1025)  # pixels per side; limited by nets and memory

_OPTION = r"(?:size=\d{1,9}|decode|skip-bad(?:=\d{1,9})?|test=(?:20%|val))"
_SPELLING = re.compile(rf"(?P<path>.*?)(?:\[(?P<options>{_OPTION}(?:,{_OPTION})*)\])?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class TreeName:
    """A source in files.

    Args:
        path: Path of the tree or file, as written.
        image_size: Pixels per side to which every image is resized.
        decode: Whether pipelines that can decode the files do so in each epoch.
        skip_bad: Whether files that can't be read are left out.
        bad: Number of files that are left out; 0 if it isn't known.
        test: Where the test set is from if it isn't the source's own: "20%" or "val".
        prefix: "folder:" or "npz:".
    """

    path: str
    image_size: int = IMAGE_SIZE
    decode: bool = False
    skip_bad: bool = False
    bad: int = 0
    test: str = ""
    prefix: str = PREFIX

    def __post_init__(self) -> None:
        if self.image_size not in SIZES:
            raise SourceError(
                f"images of {self.image_size} pixels a side are not supported for {self.path}; "
                f"the size lies in {SIZES[0]} to {SIZES[-1]}"
            )

    @property
    def root(self) -> Path:
        """The tree's folder or the file, absolute."""
        return expanded(self.path).absolute()

    @property
    def name(self) -> str:
        """The canonical name, without default options."""
        options = [f"size={self.image_size}"] if self.image_size != IMAGE_SIZE else []
        options += ["decode"] if self.decode else []
        if self.skip_bad:
            options.append(f"skip-bad={self.bad}" if self.bad else "skip-bad")
        options += [f"test={self.test}"] if self.test else []
        return self.prefix + self.path + (f"[{','.join(options)}]" if options else "")


def parse(name: str) -> TreeName:
    """Parses a name that starts with "folder:" or "npz:".

    Raises:
        SourceError: It names no file or folder, an invalid size, or options of the other kind.
    """
    prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
    match = _SPELLING.fullmatch(name.removeprefix(prefix))
    assert match is not None  # the path matches everything that isn't an option
    if not match["path"]:
        what = "folder" if prefix == PREFIX else "file"
        raise SourceError(f"the source {name!r} names no {what}; write {prefix}PATH")
    options = dict(text.partition("=")[::2] for text in (match["options"] or "").split(","))
    parsed = TreeName(
        path=match["path"],
        image_size=int(options.get("size", IMAGE_SIZE)),
        decode="decode" in options,
        skip_bad="skip-bad" in options,
        bad=int(options.get("skip-bad") or 0),
        test=options.get("test", ""),
        prefix=prefix,
    )
    if prefix == NPZ and options.keys() & {"size", "decode", "skip-bad"}:
        raise SourceError(f"{name!r}: the images of a file of arrays are used as they are")
    return parsed


def with_options(
    name: str, *, image_size: int | None = None, decode: bool = False, skip_bad: bool = False
) -> str:
    """A source's canonical name, with what options ask for.

    Raises:
        SourceError: The source isn't a folder of image files.
    """
    asked = {"--image-size": image_size is not None, "--decode": decode, "--skip-bad": skip_bad}
    if not name.startswith(PREFIX):
        if option := next((option for option, is_asked in asked.items() if is_asked), ""):
            raise SourceError(f"{option} needs image files: --source folder:PATH, not {name!r}")
        return parse(name).name if name.startswith(PREFIXES) else name
    known = parse(name)
    return replace(
        known,
        image_size=known.image_size if image_size is None else image_size,
        decode=decode or known.decode,
        skip_bad=skip_bad or known.skip_bad,
    ).name
