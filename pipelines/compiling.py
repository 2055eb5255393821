"""torch.compile for pipelines, and why it may not work on this machine."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import FunctionType
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_numbers = count()
TRIAL_TIMEOUT_S = 60.0


def compiler_problem(*, gpu: bool) -> str:
    """Why torch.compile can't work on this machine, in one sentence; "" if it can."""
    # Inductor only tries this C++ compiler; Triton takes any of these C compilers.
    language, variable, names = "C++", "CXX", ["clang++" if sys.platform == "darwin" else "g++"]
    if gpu:
        if find_spec("triton") is None:
            return "Triton is not installed"
        language, variable, names = "C", "CC", ["gcc", "clang"]
    named = os.environ.get(variable)
    if named is not None:  # no other is tried then; Triton takes it as a single word
        words = [named] if gpu else _words(named)
        if not words or shutil.which(words[0]) is None:
            return f"the {language} compiler {named!r} that {variable} names does not exist"
    else:
        words = list(filter(shutil.which, names))[:1]
        if not words:
            return f"no {language} compiler found (looked for {' and '.join(names)})"
    include = sysconfig.get_path("include")
    if not (Path(include) / "Python.h").is_file():
        return "the C headers of Python (Python.h) are not installed"
    fault = _fault_of(tuple(words), os.environ.get("PATH", ""), language, include)
    return f"the {language} compiler {' '.join(words)} does not work: {fault}" if fault else ""


def _words(command: str) -> list[str]:
    """The words of a command; empty if its quotes are unbalanced."""
    try:
        return shlex.split(command)
    except ValueError:
        return []


@cache
def _fault_of(compiler: tuple[str, ...], path: str, language: str, include: str) -> str:
    """Why a compiler can't compile Python's headers; "" if it can. Writes no files.

    Args:
        compiler: Name and leading arguments of the compiler.
        path: The PATH, only as part of the cache's key.
        language: "C" or "C++".
        include: Folder of the headers.
    """
    standard = "<cstddef>" if language == "C++" else "<stdlib.h>"
    command = [*compiler, "-fsyntax-only", "-x", language.lower(), "-I", include, "-"]
    try:
        process = subprocess.run(
            command,
            input=f"#include <Python.h>\n#include {standard}\n",
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TRIAL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not finish within {TRIAL_TIMEOUT_S:.0f} s"
    except OSError as error:
        return str(error.strerror)
    if process.returncode == 0:
        return ""
    lines = [line.strip() for line in process.stderr.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), f"exit status {process.returncode}")


def compiled(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """`function` under torch.compile: one graph without breaks, one shape.

    Dynamo caches compiled graphs per code object and gives up after a few. Closures made by one
    factory share a code object, so each gets its own copy.
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
