"""torch.compile for the pipelines: one code object a function, and why it cannot work here."""

import os
import shutil
import sysconfig
from collections.abc import Callable
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import FunctionType
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_numbers = count()


def compiler_problem(*, gpu: bool) -> str:
    """What torch.compile lacks on this machine, in one sentence; "" when nothing."""
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "c++")
    if gpu:
        if find_spec("triton") is None:
            return "Triton is not installed"
        compilers = (os.environ.get("CC", ""), "gcc", "clang", "cc")
    if not any(name and shutil.which(name) for name in compilers):
        return f"no C{'' if gpu else '++'} compiler found"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "the C headers of Python (Python.h) are not installed"
    return ""


def compiled(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """`function` under torch.compile: one graph without breaks, one shape.

    Dynamo keeps its compiled graphs by code object and gives up after a few for the same one.
    Closures that a factory makes share theirs, so each gets a copy of its own.
    """
    import torch

    assert isinstance(function, FunctionType)
    own = FunctionType(
        function.__code__.replace(co_name=f"{function.__name__}_{next(_numbers)}"),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    result: Callable[_Arguments, _Result] = torch.compile(own, fullgraph=True, dynamic=False)
    return result
