"""Text between two markers of a file that people write: a README keeps all else as it is."""

from pathlib import Path

from bench.errors import UsageError
from bench.files import explained, write_atomically


def insert(path: Path, name: str, text: str) -> bool:
    """Puts `text` between the lines `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` of a file.

    Returns:
        Whether the file changed; the same text again leaves it untouched.

    Raises:
        UsageError: The file is not text, or it lacks the markers, has them twice or the wrong way
            round, or the text holds such a marker itself.
        StoreError: The file cannot be read or written.
    """
    path = Path(path).resolve()  # a link stays one: what it points to is written
    with explained(f"read {path}"):
        old = path.read_bytes()
    try:
        lines = old.decode().splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error}") from error
    opening, closing = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    if any(line.strip() in (opening, closing) for line in text.splitlines()):
        raise UsageError(f"the text to insert into {path} holds the marker of {name} itself")
    start, end = _place(lines, opening, path), _place(lines, closing, path)
    if start is None or end is None:
        missing = " and ".join(
            marker for marker, at in ((opening, start), (closing, end)) if at is None
        )
        raise UsageError(
            f"{path} lacks {missing}: put both lines, {opening} and {closing}, where the text goes"
        )
    if end < start:
        raise UsageError(f"{path} has {closing} before {opening}")
    ending = "\r\n" if lines[start].endswith("\r\n") else "\n"
    body = [line + ending for line in ["", *text.replace("\r\n", "\n").strip("\n").split("\n"), ""]]
    new = "".join([*lines[: start + 1], *body, *lines[end:]]).encode()
    if new == old:
        return False
    write_atomically(path, new)
    return True


def _place(lines: list[str], marker: str, path: Path) -> int | None:
    found = [index for index, line in enumerate(lines) if line.strip() == marker]
    if len(found) > 1:
        numbers = ", ".join(str(index + 1) for index in found)
        raise UsageError(f"{path} has {marker} more than once, in lines {numbers}: keep one")
    return found[0] if found else None


__all__ = ["insert"]
