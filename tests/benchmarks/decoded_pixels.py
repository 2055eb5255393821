"""How far each pipeline's images are from Pillow's, by kind of file.

    python -m tests.benchmarks.decoded_pixels

Writes `decoded_pixels.md` beside the other figures.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.table import REFERENCE
from tests.pipelines.photographs import (
    EXPECTED,
    KINDS,
    SIDE,
    Difference,
    decoding_variants,
    differences,
    files_of,
    images_of,
)

NAME = "decoded_pixels.md"
SIZES = {SIDE: "as most of the files are", 224: "resized"}  # pixels


def shown(difference: Difference | None) -> str:
    """A cell of the table."""
    if difference is None:
        return "refused"
    inside, border = round(difference.inside), round(difference.border)
    if max(inside, border) <= 1:
        return "±1" if inside or border else "0"
    return f"{inside}, border {border}, mean {difference.mean:.2f}"


def table(size: int, variants: Sequence[str]) -> Iterator[str]:
    """Rows for the kinds of files, with a column for each pipeline."""
    with TemporaryDirectory() as folder:
        images = {kind: images_of(files_of(Path(folder), kind), size) for kind in KINDS}
        columns = [differences(variant, images) for variant in variants]
    yield f"| file | {' | '.join(variants)} |"
    yield "| --- " * (1 + len(variants)) + "|"
    for kind in KINDS:
        yield f"| {kind} | {' | '.join(shown(column.get(kind)) for column in columns)} |"


def reasons() -> Iterator[str]:
    """Why each pipeline differs."""
    for library, expected in EXPECTED.items():
        whys = [
            f"{kind}: {each.why}" if kind else each.why for kind, each in expected.items() if each
        ]
        yield f"- {library}: {'; '.join(whys)}."


def page(variants: Sequence[str]) -> str:
    lines = [
        "# Pixels of decoded files",
        "",
        "Made by `python -m tests.benchmarks.decoded_pixels` from three photographs of each kind,",
        "which scikit-image and scikit-learn ship. The largest difference from Pillow's images, of",
        "255 levels: inside, in the outermost rows and columns, and the mean of all pixels. Files",
        f"are {3 * SIDE // 2}x{SIDE} pixels where no size is named.",
    ]
    for size, what in SIZES.items():
        lines += ["", f"## Images of {size}x{size} pixels, {what}", "", *table(size, variants)]
    return "\n".join([*lines, "", "## Reasons", "", *reasons()]) + "\n"


def main() -> None:
    (REFERENCE / NAME).write_text(page(decoding_variants()))
    print(REFERENCE / NAME)


if __name__ == "__main__":
    main()
