"""What the pipelines compile: a code object each, and a plain word when it cannot work."""

import shutil
import sysconfig
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipelines import compiling
from pipelines.compiling import compiled, compiler_problem
from tests import checkout

LIMIT = 2  # graphs of one code object; torch ships 8, each of which takes seconds to build


def test_what_torch_compile_lacks_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert compiler_problem(gpu=False) == "no C++ compiler found (looked for g++)"
    checkout.program(tmp_path / "g++", "exit 0")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert "Python.h" in compiler_problem(gpu=False)
    (tmp_path / "Python.h").touch()
    assert compiler_problem(gpu=False) == ""


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("echo 'fatal error: cannot execute cc1plus' >&2; exit 1", "cannot execute cc1plus"),
        ("exit 1", "exit status 1"),
        ("sleep 60", "it did not finish within"),
        ("printf 'error: \\377' >&2; exit 1", "error"),
    ],
)
def test_a_compiler_that_is_there_and_does_not_work_gives_its_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, fault: str
) -> None:
    monkeypatch.setattr(compiling, "TRIAL_TIMEOUT_S", 1.0)
    compiler = checkout.program(tmp_path / "compiler", script)
    monkeypatch.setenv("CXX", str(compiler))
    problem = compiler_problem(gpu=False)
    assert problem.startswith(f"the C++ compiler {compiler} does not work: ")
    assert fault in problem


@pytest.mark.parametrize(("gpu", "variable"), [(False, "CXX"), (True, "CC")])
@pytest.mark.parametrize("named", ["/nowhere/compiler", "", "'open"])
def test_no_other_compiler_stands_in_for_the_one_that_is_named(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, variable: str, named: str
) -> None:
    if gpu and find_spec("triton") is None:
        pytest.skip("no Triton here")
    monkeypatch.setenv(variable, named)
    assert f"compiler {named!r} that {variable} names does not exist" in compiler_problem(gpu=gpu)


def test_a_compiler_may_be_named_with_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++ here")
    monkeypatch.setenv("CXX", f"{shutil.which('env')} g++ -O1")
    assert compiler_problem(gpu=False) == ""


@torch._dynamo.config.patch(recompile_limit=LIMIT)
def test_closures_of_one_factory_do_not_use_up_each_others_graphs() -> None:
    def adder(number: float) -> Callable[[Tensor], Tensor]:
        def add(x: Tensor) -> Tensor:
            return x + number

        return compiled(add)

    adders = [adder(float(number)) for number in range(LIMIT + 2)]
    x = torch.zeros(4)
    for number, add in enumerate(adders):
        assert add(x).tolist() == [number] * 4


def test_a_graph_break_is_an_error() -> None:
    def peek(x: Tensor) -> Tensor:
        return x + 1 if x.sum().item() > 0 else x

    with pytest.raises(torch._dynamo.exc.TorchDynamoException):
        compiled(peek)(torch.ones(4))
