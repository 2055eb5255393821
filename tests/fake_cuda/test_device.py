"""The harness itself: planted faults are counted, correct code is not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.fake_cuda.device import fake_cuda

HOST_INDEX = [1, 2]
FAULTS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "condition on a value": lambda x: bool(x.sum() > 0),
    "boolean mask": lambda x: x[x > 0],
    "assignment by mask": lambda x: x.__setitem__(x > 0, 0.0),
    "nonzero": lambda x: x.nonzero(),
    "index on the host": lambda x: x[torch.tensor(HOST_INDEX)],
    "numbers from Python": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "pageable copy": lambda x: torch.ones(8).to(x.device, non_blocking=True),
    "blocking copy": lambda x: torch.ones(8).pin_memory().to(x.device),
    "copy to the host": lambda x: x.cpu(),
    "copy into host memory": lambda x: torch.empty(8).copy_(x, non_blocking=True),
    "scalar tensor on the host": lambda x: x * torch.tensor(2.0),
    "list of values": lambda x: x.tolist(),
}
CORRECT: dict[str, Callable[[Tensor], object]] = {
    "arithmetic": lambda x: (x * 2.0 + 1).sum(),
    "index on the device": lambda x: x[torch.arange(2, device=x.device)],
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "pinned copy": lambda x: torch.ones(8).pin_memory().to(x.device, non_blocking=True),
    "host only": lambda x: torch.ones(8)[torch.ones(8) > 0].sum().item(),
    "random numbers": lambda x: torch.rand(8, device=x.device),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_counted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_cuda(monkeypatch) as device:
        x = torch.ones(8, device="cuda")
        device.clear()
        FAULTS[name](x)
    assert device.faults


@pytest.mark.parametrize("name", CORRECT)
def test_correct_code_has_no_fault(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_cuda(monkeypatch) as device:
        x = torch.ones(8, device="cuda")
        device.clear()
        CORRECT[name](x)
    assert not device.faults


def test_tensors_of_both_devices_cannot_be_combined(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_cuda(monkeypatch), pytest.raises(RuntimeError, match="device"):
        torch.ones(8, device="cuda") + torch.ones(8)


def test_a_fault_is_reported_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_cuda(monkeypatch) as device:
        torch.ones(8, device="cuda").sum().item()
    (text,) = device.waits
    assert text.startswith("_local_scalar_dense at ")
    assert "tests/fake_cuda/test_device.py" in text


def test_launches_are_counted_and_views_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_cuda(monkeypatch) as device:
        x = torch.ones(8, 4, device="cuda")
        device.clear()
        (x.view(4, 8).T * 2.0).sum()
    assert device.launches == {"mul": 1, "sum": 1}


def test_gradients_of_a_net(monkeypatch: pytest.MonkeyPatch) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.LazyLinear(2))
    net(torch.ones(1, 3, 8, 8))
    with fake_cuda(monkeypatch) as device:
        net.to("cuda")
        device.clear()
        net(torch.ones(5, 3, 8, 8, device="cuda")).sum().backward()
        gradients = [parameter.grad for parameter in net.parameters()]
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        assert gradient is not None
        assert (gradient.shape, gradient.device.type) == (parameter.shape, "cuda")
    assert not device.faults
