"""The learning rate at each step, as numbers and as tensors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import LambdaLR

from bench.training.lr_schedule import LRSchedule

STEPS = 7
CPU = torch.device("cpu")


def made() -> torch.optim.Optimizer:
    weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    return torch.optim.SGD([{"params": weights[:1]}, {"params": weights[1:], "lr": 0.5}], lr=0.1)


def factors() -> list[object]:
    return [lambda step: 1.0 - step / STEPS, lambda step: 1.0 / (1 + step)]


def scheduled(on_device: bool) -> tuple[torch.optim.Optimizer, LRSchedule]:
    optimizer = made()
    schedule = LRSchedule(optimizer, factors(), STEPS)
    if on_device:
        schedule.to_device(CPU)
    return optimizer, schedule


def rates(optimizer: torch.optim.Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


@pytest.mark.parametrize("on_device", [False, True])
def test_rates_agree_with_torchs_scheduler(on_device: bool) -> None:
    (own, schedule), other = scheduled(on_device), made()
    wanted = LambdaLR(other, factors())
    for _ in range(STEPS):
        assert rates(own) == pytest.approx(rates(other), rel=1e-6, abs=1e-9)
        other.step()
        wanted.step()
        schedule.step()
    assert rates(own) == pytest.approx(rates(other), rel=1e-6, abs=1e-9)
    for _ in range(3):  # after the run they stay as they are
        schedule.step()
    assert rates(own) == pytest.approx([0.0, 0.5 / (1 + STEPS)])
    assert schedule.highest(STEPS + 3) == schedule.highest(STEPS) == 0.5 / (1 + STEPS)


@given(st.lists(st.integers(0, 2 * STEPS), min_size=1, max_size=4), st.booleans())
def test_go_to_and_continue_from_any_step(places: list[int], on_device: bool) -> None:
    optimizer, schedule = scheduled(on_device)
    for place in places:
        schedule.go_to(place)
        schedule.step()
        other, straight = scheduled(on_device=False)
        for _ in range(place + 1):
            straight.step()
        assert rates(optimizer) == pytest.approx(rates(other), rel=1e-6, abs=1e-9)
        assert schedule.highest(place + 1) == max(rates(other))


def test_on_a_device_the_rates_stay_the_same_tensors() -> None:
    optimizer, schedule = scheduled(on_device=False)
    schedule.step()
    before = rates(optimizer)
    schedule.to_device(CPU)
    held = [group["lr"] for group in optimizer.param_groups]
    assert rates(optimizer) == pytest.approx(before)
    schedule.step()
    schedule.go_to(3)
    assert all(group["lr"] is lr for group, lr in zip(optimizer.param_groups, held, strict=True))
    assert all(lr.shape == () and lr.dtype == torch.float32 for lr in held)
