"""What the pipelines compile: a code object each, and a plain word when it cannot work."""

import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipelines.compiling import compiled, compiler_problem


def test_what_torch_compile_lacks_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert compiler_problem(gpu=False) == "no C++ compiler found"
    compiler = tmp_path / "g++"
    compiler.touch(mode=0o755)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert "Python.h" in compiler_problem(gpu=False)
    (tmp_path / "Python.h").touch()
    assert compiler_problem(gpu=False) == ""


def test_closures_of_one_factory_do_not_use_up_each_others_graphs() -> None:
    def adder(number: float) -> Callable[[Tensor], Tensor]:
        def add(x: Tensor) -> Tensor:
            return x + number

        return compiled(add)

    limit = torch._dynamo.config.recompile_limit
    adders = [adder(float(number)) for number in range(limit + 2)]
    x = torch.zeros(4)
    for number, add in enumerate(adders):
        assert add(x).tolist() == [number] * 4


def test_a_graph_break_is_an_error() -> None:
    def peek(x: Tensor) -> Tensor:
        return x + 1 if x.sum().item() > 0 else x

    with pytest.raises(torch._dynamo.exc.TorchDynamoException):
        compiled(peek)(torch.ones(4))
