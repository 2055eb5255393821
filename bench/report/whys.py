"""Each entry's name and its `why`, read from the files without importing them: torch takes seconds.

An entry is a call with a literal `name` and `why`; a test compares what is found here with what the
registries hold.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "architectures": ROOT / "architectures",
    "optimizers": ROOT / "bench" / "optimizers",
    "augmentations": ROOT / "pipelines" / "augmentations",
    "pipelines": ROOT / "pipelines",
}


@dataclass(frozen=True, kw_only=True)
class Why:
    """One entry.

    Args:
        name: What people type.
        why: Its reason, one sentence.
        default: Whether the default grid uses it.
    """

    name: str
    why: str
    default: bool = False


def whys(folder: Path) -> list[Why]:
    """The entries in the files of `folder`, in the order of files and lines."""
    return [why for path in sorted(folder.glob("*.py")) for why in _in_file(path)]


def _in_file(path: Path) -> list[Why]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # `bench list` names a file that cannot be imported
        return []
    calls = [node.value for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    found = [_of_call(call) for call in calls if isinstance(call, ast.Call)]
    return [why for why in found if why is not None]


def _of_call(call: ast.Call) -> Why | None:
    literal = {
        keyword.arg: keyword.value.value
        for keyword in call.keywords
        if isinstance(keyword.value, ast.Constant)
    }
    name, why = literal.get("name"), literal.get("why")
    if not isinstance(name, str) or not isinstance(why, str):
        return None
    return Why(name=name, why=why, default=literal.get("default") is True)


__all__ = ["FOLDERS", "Why", "whys"]
