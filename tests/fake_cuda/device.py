"""CUDA without a GPU: CUDA tensors are fake, CPU tensors are real, and faults are counted.

`fake_cuda` makes torch's operations on CUDA tensors work out shapes only. What would slow down or
break a run on a GPU is counted: waits of the host, operations on tensors of both devices, and
launches of kernels. Streams, the legality of a capture, cuDNN and memory cannot be seen here.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.optimizers._muon import compiled_update
from bench.training.compiling import compiled_loss
from pipelines.kornia import augmenter
from pipelines.native_ops.kernels import kernels
from tests.fake_cuda.autograd import backward
from tests.tape import waits

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)
TORCH = str(Path(torch.__file__).parent)
HARNESS = (__file__, str(Path(__file__).with_name("autograd.py")))
ALLOCATIONS = ("device", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")
COPIES = {aten._to_copy.default, aten.copy_.default}
UPDATES = ("_fused_sgd_", "_fused_adam_", "_fused_adamw_")  # which have no shape function
PROPERTIES = SimpleNamespace(
    name="Fake H100", uuid="0", major=9, minor=0, total_memory=80 << 30, multi_processor_count=132,
    warp_size=32, L2_cache_size=50 << 20,
)  # fmt: skip


class FakeCuda(TorchDispatchMode):
    """What the operations on CUDA tensors in the `with` block would cost.

    Args:
        waits: What makes the host wait for the device, by operation and place.
        staged: Copies of pageable memory that the host asks not to wait for: the driver copies it
            to pinned memory first, and a CUDA graph cannot hold it.
        mixed: Operations on tensors of both devices, by operation and place.
        launches: Operations that launch a kernel, by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.waits: Counter[str] = Counter()
        self.staged: Counter[str] = Counter()
        self.mixed: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()

    @property
    def faults(self) -> Counter[str]:
        """Everything that is counted except launches."""
        return self.waits + self.staged + self.mixed

    def clear(self) -> None:
        """Forgets what was counted."""
        for counts in (self.waits, self.staged, self.mixed, self.launches):
            counts.clear()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, given)) if isinstance(leaf, Tensor)]
        on_host = [tensor for tensor in tensors if not isinstance(tensor, FakeTensor)]
        device = given.get("device")
        if len(on_host) == len(tensors) and not is_cuda(device):
            pin = given.pop("pin_memory", False)
            result = func(*args, **given)
            if pin:
                pinned.add(result.untyped_storage().data_ptr())
            return result
        if waits(func, args):
            self.waits[f"{name_of(func)} at {place()}"] += 1
            return self._made_up(func, args, given)
        if func in COPIES:
            source, target = self._ends_of_copy(func, args, given)
            if source != target.type:
                self._count_copy(func, args, given, target)
                if target.type == "cpu":
                    return self._copied_to_host(func, args, given)
        elif on_host:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in on_host)
            self.mixed[f"{name_of(func)} with {shapes} on the host at {place()}"] += 1
        return self._run(func, args, given)

    def _run(self, func: Any, args: Any, given: dict[str, Any]) -> Any:
        """The result's shapes, counted as a launch unless it only allocates or is a view."""
        returns = func._schema.returns
        is_view = any(one.alias_info and not one.alias_info.is_write for one in returns)
        if not is_view and name_of(func) not in ALLOCATIONS:
            self.launches[name_of(func)] += 1
        given.pop("generator", None)
        args = tuple(None if isinstance(arg, RealGenerator) else arg for arg in args)
        if ".generator" in str(func):
            func = func.overloadpacket.default
        with self.fake:
            return func(*args, **given)

    def _made_up(self, func: Any, args: Any, given: dict[str, Any]) -> Any:
        """A result of an operation whose value or shape depends on the device's values."""
        if func is aten._local_scalar_dense.default:
            return args[0].dtype != torch.bool
        if func is aten.nonzero.default:
            return self._zeros(len(args[0]), args[0].ndim)
        if func is aten.bincount.default:
            return self._zeros(args[2] if len(args) > 2 else given["minlength"])
        return self._run(aten.empty_like.default, args[:1], {})

    def _zeros(self, *shape: int) -> Any:
        made = {"dtype": torch.int64, "device": CUDA}
        return self._run(aten.zeros.default, (list(shape),), made)

    @staticmethod
    def _ends_of_copy(func: Any, args: Any, given: Mapping[str, Any]) -> tuple[str, torch.device]:
        if func is aten.copy_.default:
            return args[1].device.type, args[0].device
        source = args[0].device
        return source.type, torch.device(given.get("device") or source)

    def _count_copy(
        self, func: Any, args: Any, given: Mapping[str, Any], target: torch.device
    ) -> None:
        """The host waits for each copy, unless it asks not to and the memory is pinned."""
        in_place = func is aten.copy_.default
        lazy = args[2:3] == (True,) if in_place else bool(given.get("non_blocking"))
        source = args[1] if in_place else args[0]
        if target.type == "cpu" or not lazy:
            self.waits[f"copy to {target.type} at {place()}"] += 1
        elif source.untyped_storage().data_ptr() not in pinned:
            self.staged[place()] += 1

    @staticmethod
    def _copied_to_host(func: Any, args: Any, given: Mapping[str, Any]) -> Tensor:
        if func is aten.copy_.default:
            target: Tensor = args[0]
            return target
        return torch.zeros(args[0].shape, dtype=given.get("dtype") or args[0].dtype)


def is_cuda(device: object) -> bool:
    """Whether a device argument names a GPU."""
    return device is not None and str(device).startswith("cuda")


def name_of(func: Any) -> str:
    """An operation's name, without its overload."""
    return str(func.overloadpacket.__name__)


def place() -> str:
    """File and line of the innermost caller outside torch and this harness."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith((TORCH, *HARNESS)):
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    return f"{'/'.join(path.parts[-3:])}:{frame.f_lineno}"


pinned: set[int] = set()  # addresses of pinned memory


class Nothing:
    """A stream, event or graph that does nothing; a duration is always 1 ms."""

    cuda_stream, device = 0, CUDA

    def __init__(self, *args: object, **options: object) -> None:
        pass

    def __enter__(self) -> "Nothing":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., float]:
        return lambda *args, **options: 1.0


RealGenerator = torch.Generator


class Generator(RealGenerator):
    """A generator on the CPU that claims to be on the device it was asked for."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        made: Generator = RealGenerator.__new__(cls, "cpu")
        made.claimed = CUDA if is_cuda(device) else torch.device("cpu")
        return made

    claimed: torch.device
    device = property(lambda self: self.claimed)


def _moved(
    self: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True
) -> nn.Module:
    """`Module._apply` with new parameters, as a real one cannot become fake in place."""
    for child in self.children():
        _moved(child, function)
    for name, parameter in self._parameters.items():
        if parameter is not None:
            new = nn.Parameter(function(parameter.detach()), parameter.requires_grad)
            vars(new).update(vars(parameter))
            self._parameters[name] = new
    for name, value in self._buffers.items():
        self._buffers[name] = None if value is None else function(value)
    return self


def _pinned(tensor: Tensor, *args: object) -> Tensor:
    copy = tensor.clone()
    pinned.add(copy.untyped_storage().data_ptr())
    return copy


def _listed(tensor: Tensor, _real: Callable[[Tensor], list[Any]] = Tensor.tolist) -> list[Any]:
    """`Tensor.tolist`, which copies to the host once; fake tensors ask for each value."""
    return _real(tensor.cpu())


def _not_compiled(function: Any = None, **options: object) -> Any:
    return function or (lambda decorated: decorated)


def _forget_compiled() -> None:
    """Clears what a test has compiled, or made of fake tensors."""
    for cached in (compiled_loss, compiled_update, augmenter, kernels):
        cached.cache_clear()


def returns(result: object) -> Callable[..., object]:
    return lambda *arguments, **options: result


def pretend_cuda(monkeypatch: pytest.MonkeyPatch, results: Mapping[str, object]) -> None:
    """Makes functions of `torch.cuda` return these results; autocast and cuDNN claim to work."""
    for name, result in results.items():
        monkeypatch.setattr(torch.cuda, name, returns(result))
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", returns(False))
    cudnn = torch._C._ConvBackend.Cudnn  # decides on formats
    monkeypatch.setattr(torch._C, "_select_conv_backend", returns(cudnn))


@contextmanager
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """A fake GPU in the `with` block; torch.compile does nothing there."""
    mode = FakeCuda()
    with mode.fake:
        pass  # installs an empty device guard for CUDA
    for name in UPDATES:
        for overload in getattr(aten, name).overloads():
            suffix = "" if overload == "default" else f".{overload}"
            with suppress(RuntimeError):  # registered before
                torch.library.impl(f"aten::{name}{suffix}", "Meta")(lambda *args, **options: None)
    results = {
        "_lazy_init": None, "synchronize": None, "set_rng_state": None, "manual_seed": None,
        "manual_seed_all": None, "reset_peak_memory_stats": None, "is_initialized": False,
        "current_device": 0, "device_count": 1, "get_device_properties": PROPERTIES,
        "mem_get_info": (70 << 30, 80 << 30), "max_memory_allocated": 0, "is_bf16_supported": True,
        "get_rng_state": torch.zeros(16, dtype=torch.uint8),
    }  # fmt: skip
    pretend_cuda(monkeypatch, results)
    for name in ("Event", "Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Nothing)
    monkeypatch.setattr(torch, "Generator", Generator)
    monkeypatch.setattr(torch, "compile", _not_compiled)
    monkeypatch.setattr(Tensor, "backward", backward)
    monkeypatch.setattr(Tensor, "pin_memory", _pinned)
    monkeypatch.setattr(Tensor, "tolist", _listed)
    monkeypatch.setattr(nn.Module, "_apply", _moved)
    # So that torch.tensor(..., device="cuda") copies from the host.
    torch._C._set_only_lift_cpu_tensors(True)
    _forget_compiled()
    try:
        with mode:
            yield mode
    finally:
        _forget_compiled()
        torch._C._set_only_lift_cpu_tensors(False)
        pinned.clear()
