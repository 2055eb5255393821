"""Inductor's code for an H100 without a GPU: how many kernels a graph has and what it moves."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch._decomp import decomposition_table
from torch._inductor import decomposition
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.training import compiling
from tests.fake_cuda import autograd
from tests.fake_cuda.device import pretend_cuda, returns

PROPERTIES = SimpleNamespace(
    name="H100", major=9, minor=0, total_memory=80 << 30, multi_processor_count=132, warp_size=32,
    L2_cache_size=50 << 20, regs_per_multiprocessor=65536, max_threads_per_multi_processor=2048,
    max_threads_per_block=1024, gcnArchName="", shared_memory_per_block_optin=232448,
    shared_memory_per_block=49152,
)  # fmt: skip
_KERNEL_CALLS = re.compile(r"\.run\(|extern_kernels\.\w+\(|= torch\.ops\.aten\.\w+(?:\.\w+)?\(")


class Written(Exception):
    """The compiled code was called, which is impossible here."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What Inductor wrote for one graph.

    Args:
        code: Python with Triton.
        moved_bytes: Read and written by its kernels, by Inductor's own count.
    """

    code: str
    moved_bytes: int

    @property
    def kernels(self) -> int:
        """Number of kernels and library functions that it calls."""
        return len(_KERNEL_CALLS.findall(self.code))


def written_for(
    make: Callable[[], Callable[..., object]],
    shapes: list[tuple[int, ...]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype = torch.bfloat16,
) -> list[Graph]:
    """The graphs, forward first, of what `make` compiles, called with images of these shapes."""
    with code_is_kept(folder, monkeypatch) as graphs, FakeTensorMode(allow_non_fake_inputs=True):
        function = make()
        given = [torch.empty(shape, device="cuda", dtype=dtype) for shape in shapes]
        channels_last = [
            x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in given
        ]
        with suppress(Written), torch.autocast("cuda", dtype=torch.bfloat16):
            function(*channels_last)
    return graphs


def on_cuda(net: nn.Module) -> nn.Module:
    """The net with fake weights in channels-last format; call it in a `FakeTensorMode`."""
    for module in net.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                moved = nn.Parameter(_moved(parameter.detach()), parameter.requires_grad)
                module._parameters[name] = moved
        for name, value in module._buffers.items():
            module._buffers[name] = None if value is None else _moved(value)
    return net


def _moved(value: torch.Tensor) -> torch.Tensor:
    layout = value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
    return torch.empty_strided(value.shape, layout.stride(), dtype=value.dtype, device="cuda")


@contextmanager
def code_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Graph]]:
    """Keeps the code that torch.compile writes for CUDA in the block, instead of building it."""
    import torch._functorch.config as functorch_config
    import torch._inductor.config as inductor_config
    import triton
    from torch._dynamo.device_interface import CudaInterface
    from torch._inductor.graph import GraphLowering
    from torch.utils import _triton
    from triton.backends.compiler import GPUTarget

    graphs: list[Graph] = []
    file = folder / "code.py"
    file.write_text("")

    def compile_to_module(self: Any) -> SimpleNamespace:
        code, _ = self.codegen()
        moved_bytes, _, _ = self.count_bytes()
        graphs.append(Graph(code=getattr(code, "value", str(code)), moved_bytes=moved_bytes))
        self.cache_key, self.cache_path, self.cache_linemap = "none", str(file), []
        return SimpleNamespace(call=_not_here, __file__=str(file), key="none")

    monkeypatch.setattr(GraphLowering, "compile_to_module", compile_to_module)
    monkeypatch.setattr(torch.autograd, "grad", autograd.grad)
    statics = {
        "is_available": True, "get_compute_capability": 90, "get_device_properties": PROPERTIES,
        "raise_if_triton_unavailable": None, "is_triton_capable": True, "current_device": 0,
        "get_raw_stream": 0, "is_bf16_supported": True,
    }  # fmt: skip
    for name, result in statics.items():
        monkeypatch.setattr(CudaInterface, name, staticmethod(returns(result)))
    for name in ("get_device_properties", "current_device"):
        monkeypatch.setattr(CudaInterface.Worker, name, staticmethod(returns(statics[name])))
    functions = {
        "get_device_capability": (9, 0), "get_device_properties": PROPERTIES, "current_device": 0,
        "device_count": 1, "_lazy_init": None, "is_initialized": False, "is_bf16_supported": True,
        "get_device_name": "NVIDIA H100",
    }  # fmt: skip
    pretend_cuda(monkeypatch, functions)
    users = [module for name, module in sys.modules.items() if name.startswith("torch._inductor")]
    for module in (_triton, *users):  # some have imported it by its name
        if "has_triton" in vars(module):
            monkeypatch.setattr(module, "has_triton", returns(True))
    driver = SimpleNamespace(
        get_current_target=returns(GPUTarget("cuda", 90, 32)),
        get_current_device=returns(0),
        get_current_stream=returns(0),
    )
    monkeypatch.setattr(triton.runtime.driver, "_active", driver)
    options = {
        "fx_graph_cache": False, "compile_threads": 1, "force_disable_caches": True,
        "joint_graph_constant_folding": False, "shape_padding": False,
    }  # fmt: skip
    torch._dynamo.reset()
    try:
        with (
            functorch_config.patch(force_non_lazy_backward_lowering=True),
            inductor_config.patch(options),
        ):
            yield graphs
    finally:
        torch._dynamo.reset()


def _not_here(arguments: object) -> None:
    raise Written


@contextmanager
def own_decompositions() -> Iterator[None]:
    """Undoes `compiling.gather_in_pools`: torch's own pools are in Inductor's table again."""
    before = dict(decomposition.decompositions)
    for overload in ("default", "grad_input"):
        operator = getattr(compiling.POOL_BACKWARD, overload)
        decomposition.decompositions[operator] = decomposition_table[operator]
    decomposition.fast_random_decomps.cache_clear()
    with torch.compiler.config.patch(cache_key_tag=""):
        yield
    decomposition.decompositions.clear()
    decomposition.decompositions.update(before)
    decomposition.fast_random_decomps.cache_clear()
