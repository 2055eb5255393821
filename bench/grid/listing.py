"""Entries as the text of their files states them.

Importing the files imports torch, which takes seconds. `bench list` reads their text instead, and
imports them only where the text leaves something open.
"""

import ast
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PLUGINS = "pipeline_bench"  # group of entry points
TYPES = {  # package and type of the entries of a kind
    "architectures": ("architectures", "Architecture"),
    "optimizers": ("bench.optimizers", "Optimizer"),
    "augmentations": ("pipelines.augmentations", "Augmentation"),
    "pipelines": ("pipelines", "Library"),
}
FIELDS = ("name", "why", "default", "modes", "parameters", "flops")
PASSIVE = (ast.FunctionDef, ast.ClassDef, ast.AnnAssign)  # statements that cannot fail


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One line of `bench list`.

    Args:
        problem: Why it cannot be used here.
        modes: Of a pipeline; the first is the default.
        parameters: Of a net, as `flops` are.
        cells: Of a grid; `expected_s` is the time that they take here, as far as is known.
    """

    kind: str
    name: str
    why: str
    default: bool = False
    problem: str = ""
    modes: tuple[str, ...] = ()
    parameters: int = 0
    flops: int = 0
    cells: int = 0
    expected_s: float | None = None


class _Unclear(Exception):
    """The text of a file does not say what its entries are, or whether it can be imported."""


def stated_entries() -> dict[str, list[Listing]] | None:
    """All entries of the suite by kind; None if that takes importing their files."""
    try:
        return {kind: list(_of_package(kind, *TYPES[kind])) for kind in TYPES}
    except _Unclear:
        return None


def _of_package(kind: str, package: str, type_name: str) -> Iterator[Listing]:
    spec, names = find_spec(package), set()
    for module in pkgutil.iter_modules(spec.submodule_search_locations if spec else None):
        if module.name.startswith("_"):
            continue
        finder: Any = module.module_finder
        file = f"{module.name}/__init__.py" if module.ispkg else f"{module.name}.py"
        for fields in _of_text(Path(finder.path, file).read_text(encoding="utf-8"), type_name):
            if fields["name"] in names:
                raise _Unclear
            names.add(fields["name"])
            yield Listing(kind=kind, **fields)


def _of_text(text: str, type_name: str) -> Iterator[dict[str, Any]]:
    """The fields of each entry that a module assigns to a name."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise _Unclear from error
    constants: dict[str, Any] = {}
    found = 0
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            _check_import(node)
        elif isinstance(node, ast.Assign):
            if isinstance(node.value, ast.Call) and _is_named(node.value.func, type_name):
                found += 1
                given = {keyword.arg: keyword.value for keyword in node.value.keywords}
                stated = {name: _value(given[name], constants) for name in FIELDS if name in given}
                if not isinstance(stated.get("name"), str) or not isinstance(
                    stated.get("why"), str
                ):
                    raise _Unclear
                yield stated
            else:
                constants |= _assigned(node, constants)
        elif not isinstance(node, PASSIVE) and not _is_inert(node):
            raise _Unclear
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    used = sum(_is_named(part, type_name) for call in calls for part in (call.func, *call.args))
    if used != found:
        raise _Unclear


def _is_inert(node: ast.stmt) -> bool:
    if isinstance(node, ast.If):
        return _is_named(node.test, "TYPE_CHECKING")
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_named(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _assigned(node: ast.Assign, constants: Mapping[str, Any]) -> dict[str, Any]:
    """The names that an assignment of literals defines: `A = "a"`, or `A, B = "a", "b"`."""
    target = node.targets[0]
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    try:
        value = _value(node.value, constants)
    except _Unclear:
        return {}
    values = value if isinstance(target, ast.Tuple) else [value]
    return {name.id: each for name, each in zip(names, values, strict=False)
            if isinstance(name, ast.Name)}  # fmt: skip


def _value(node: ast.expr, constants: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in constants:
        return constants[node.id]
    if isinstance(node, ast.Tuple):
        return tuple(_value(part, constants) for part in node.elts)
    raise _Unclear


def _check_import(node: ast.Import | ast.ImportFrom) -> None:
    """Raises if a library is missing: then importing the file tells the reason."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
    if not all(_is_installed((name or ".").partition(".")[0]) for name in names):
        raise _Unclear


@cache
def _is_installed(library: str) -> bool:
    if library in sys.stdlib_module_names or library in sys.modules:
        return True
    try:
        return find_spec(library) is not None
    except (ImportError, ValueError):
        return False
