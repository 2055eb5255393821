"""Entries as the text of their files states them.

Importing the files imports torch, which takes seconds. `bench list` and plans read their text
instead, and import them only where the text leaves something open.
"""

import ast
import pkgutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines.libraries import missing

PLUGINS = "pipeline_bench"  # group of entry points
TYPES = {  # package and type of the entries of a kind
    "architectures": ("architectures", "Architecture"),
    "optimizers": ("bench.optimizers", "Optimizer"),
    "augmentations": ("pipelines.augmentations", "Augmentation"),
    "pipelines": ("pipelines", "Library"),
}
PLANNED = ("version", "scales", "bf16_on_cpu", "options")  # what only plans read
FIELDS = (
    "name", "why", "default", "modes", "decodes", "install", "parameters", "flops", *PLANNED
)  # fmt: skip
OPTIONS = "pipelines.options"  # whose names an entry's fields may use


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One line of `bench list`.

    Args:
        problem: Why it cannot be used here.
        modes: Of a pipeline; the first is the default.
        decodes: Whether a pipeline decodes image files in each epoch.
        install: What pip installs for an optional pipeline.
        parameters: Of a net, as `flops` are.
        version: 0 if the entry's file cannot be imported.
        scales: Of a net, as `bf16_on_cpu` is.
        options: Of an optimizer or a pipeline, with their defaults.
        cells: Of a grid; `expected_s` is the time that they take here, as far as is known.
    """

    kind: str
    name: str
    why: str
    default: bool = False
    problem: str = ""
    modes: tuple[str, ...] = ()
    decodes: bool = False
    install: str = ""
    parameters: int = 0
    flops: int = 0
    version: int = 1
    scales: bool = True
    bf16_on_cpu: bool = False
    options: Mapping[str, float] = field(default_factory=dict)
    cells: int = 0
    expected_s: float | None = None


@cache
def stated_entries() -> dict[str, list[Listing]] | None:
    """All entries of the suite by kind; None if that takes importing their files."""
    try:
        found = {kind: list(_of_package(kind, *TYPES[kind])) for kind in TYPES}
    except (ValueError, SyntaxError):  # the text leaves something open, or is no Python
        return None
    unique = all(len({entry.name for entry in each}) == len(each) for each in found.values())
    return found if unique else None


def readable_entries() -> dict[str, list[Listing]]:
    """The entries whose text can be read, by kind, whether their libraries are installed or not."""
    return {kind: list(_of_package(kind, *TYPES[kind], strict=False)) for kind in TYPES}


def _of_package(
    kind: str, package: str, type_name: str, *, strict: bool = True
) -> Iterator[Listing]:
    spec = find_spec(package)
    for module in pkgutil.iter_modules(spec.submodule_search_locations if spec else None):
        finder: Any = module.module_finder
        file = f"{module.name}/__init__.py" if module.ispkg else f"{module.name}.py"
        if not file.startswith("_"):
            with nullcontext() if strict else suppress(ValueError, SyntaxError):
                text = Path(finder.path, file).read_text(encoding="utf-8")
                for entry in entries_of(text, type_name, strict=strict):
                    yield listed(kind, **entry)


def listed(kind: str, **fields: Any) -> Listing:
    """A usable entry, or one whose optional library is not installed."""
    install = fields.get("install", "")
    problem = missing(fields["name"], install) if install else ""
    return Listing(kind=kind, problem=problem, **fields)


def entries_of(text: str, type_name: str, *, strict: bool = True) -> list[dict[str, Any]]:
    """The fields of the entries that a module assigns to names, all of them literals.

    Args:
        strict: Whether to raise if the module may fail to be imported, or may have other entries.

    Raises:
        ValueError: An entry has fields that are no literals, or see `strict`.
        SyntaxError: It is no Python.
    """
    tree = ast.parse(text)
    names = {
        alias.asname or alias.name: getattr(import_module(OPTIONS), alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == OPTIONS
        for alias in node.names
    }
    found = []
    for node in tree.body:
        match node:
            case ast.Assign(value=ast.Call(func=ast.Name(id=name)) as call) if name == type_name:
                given = {keyword.arg: keyword.value for keyword in call.keywords}
                found.append({f: _value(given[f], names) for f in FIELDS if f in given})
    if strict:
        _check_import(tree, type_name, found)
    return found


def _check_import(tree: ast.Module, type_name: str, found: Sequence[Mapping[str, Any]]) -> None:
    """Raises ValueError if importing a module may fail, or may give other entries than `found`."""
    shared: set[str] = set()  # what is imported from modules whose names begin with "_"
    for node in tree.body:
        match node:
            case ast.Import():
                _check_installed(*(alias.name for alias in node.names))
            case ast.ImportFrom():
                _check_installed(node.module or ".")
                private = [a for a in node.names if "._" in f".{node.module}.{a.name}"]
                shared |= {alias.asname or alias.name for alias in private}
            case ast.Assign(value=ast.Call(func=function)) if _root(function) in shared:
                raise ValueError("a shared function may make entries")
            case ast.FunctionDef() | ast.ClassDef() | ast.Assign() | ast.AnnAssign():
                pass
            case ast.Expr(value=ast.Constant()) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
                pass
            case _:
                raise ValueError(f"line {node.lineno} may fail")
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    parts = [part for call in calls for part in (call.func, *call.args)]
    if sum(isinstance(part, ast.Name) and part.id == type_name for part in parts) != len(found):
        raise ValueError("some entries are made otherwise")
    if not all(isinstance(entry.get(field), str) for entry in found for field in ("name", "why")):
        raise ValueError("an entry lacks its name or reason")


def _root(node: ast.expr) -> str:
    """The first name of `a.b.c`; "" of anything else."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """The value of a literal or of one of `names`; ValueError for anything else."""
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    return ast.literal_eval(node)


def _check_installed(*modules: str) -> None:
    """Raises ValueError if a library is missing: importing the file then tells the reason."""
    for library in (module.partition(".")[0] for module in modules):
        known = library in sys.stdlib_module_names or library in sys.modules
        if not known and find_spec(library) is None:  # ValueError if it is relative
            raise ValueError(f"{library} is missing")
