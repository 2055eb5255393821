"""Workers of a DataLoader that die, stop, or whose batch is lost."""

import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from bench.grid.plugins import used
from pipelines import augmentations, building, workers
from pipelines.augmentations import Augmentation
from pipelines.base import Batch, Pipeline, Unsupported
from pipelines.ops import Affine, AlternatingFlip, Op, RandAugment
from pipelines.sources.errors import SourceError
from pipelines.torchvision import TorchvisionOp
from pipelines.verification.made_images import numbered
from pipelines.workers import Key, LoaderWorkerLost, Samples, describe_exit
from tests.made_plugins import INVERTING, ROOT


def lose(key: Key) -> None:
    """What a full /dev/shm can do: the batch is never sent, and the worker lives on."""
    time.sleep(600)


def kill(number: signal.Signals) -> Callable[[Key], None]:
    return lambda key: os.kill(os.getpid(), number)


def leave(key: Key) -> None:
    os._exit(3)


def fail(key: Key) -> None:
    raise SourceError("bee/7.png cannot be read: it is not an image; repair or remove it")


def collect(key: Key) -> None:
    gc.collect()


def build(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[Key], None], epoch: int = 0
) -> Pipeline:
    """A pipeline whose second batch of an epoch meets a fault in its worker."""
    original = Samples.__getitem__

    def get(samples: Samples, key: Key) -> Batch:
        if key[0] == epoch and key[1] == 1:
            fault(key)
        return original(samples, key)

    monkeypatch.setattr(Samples, "__getitem__", get)
    images = numbered(64)
    return building.build("torchvision[workers=2]", images, Augmentation(ops=()), batch_size=8)


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (kill(signal.SIGBUS), "killed by signal 7 SIGBUS; /dev/shm, in which .* MiB free"),
        (kill(signal.SIGKILL), "killed by signal 9 SIGKILL; the system kills .*fewer workers"),
        (kill(signal.SIGSEGV), "killed by signal 11 SIGSEGV; the log"),
        (leave, "exited by itself with exit code 3"),
    ],
)
def test_a_dead_worker_is_noticed_at_once(
    fault: Callable[[Key], None], reason: str, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = build(monkeypatch, fault, epoch)
    start = time.monotonic()
    for index in range(epoch):
        list(pipeline.epoch(index))
    with pytest.raises(LoaderWorkerLost, match=reason):
        list(pipeline.epoch(epoch))
    assert time.monotonic() - start < 20
    with pytest.raises(RuntimeError, match="was closed"):
        list(pipeline.epoch(2))


@pytest.mark.slow  # torch waits for the workers when it ends them
@pytest.mark.parametrize("fault", [lose, kill(signal.SIGSTOP)])
def test_a_lost_batch_is_noticed(
    fault: Callable[[Key], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "CHECK_S", 0.3)
    pipeline = build(monkeypatch, fault)
    with pytest.raises(LoaderWorkerLost, match=r"no worker process .* has sent a batch .*/dev/shm"):
        list(pipeline.epoch(0))


def test_a_slow_worker_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(key: Key) -> None:
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            torch.rand(1000)

    monkeypatch.setattr(workers, "CHECK_S", 0.3)
    pipeline = build(monkeypatch, work)
    assert len(list(pipeline.epoch(0))) == pipeline.steps_per_epoch
    pipeline.close()


class EndsInItsProcess:
    """As DALI's pipelines, whose end waits for threads that a fork does not have."""

    def __init__(self) -> None:
        self.itself, self.process = self, os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self.process:
            os._exit(5)


def test_workers_leave_the_garbage_of_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.disable()
    try:
        EndsInItsProcess()
        pipeline = build(monkeypatch, collect)
        assert len(list(pipeline.epoch(0))) == pipeline.steps_per_epoch
        pipeline.close()
        assert gc.collect() > 0  # it is the parent's to collect
    finally:
        gc.enable()


def test_a_death_in_the_training_step_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = build(monkeypatch, kill(signal.SIGKILL), epoch=9)
    batches = pipeline.epoch(9)
    next(batches)
    with pytest.raises(RuntimeError, match="killed by signal"):
        time.sleep(5)  # torch raises in the main thread
    batches.close()
    with pytest.raises(RuntimeError, match="was closed"):
        list(pipeline.epoch(1))


def test_the_error_of_a_worker_leaves_the_others_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = build(monkeypatch, fail)
    with pytest.raises(SourceError, match=r"bee/7\.png"):
        list(pipeline.epoch(0))
    assert len(list(pipeline.epoch(1))) == pipeline.steps_per_epoch
    pipeline.close()


def test_real_limits_lie_within_a_minute() -> None:
    assert workers.CHECK_S * workers.QUIET_CHECKS <= 60


def test_an_unknown_signal_is_named() -> None:
    assert "SIGABRT" in describe_exit(-6)


@contextmanager
def started_by(method: str) -> Iterator[None]:
    """Within the block, processes start as on macOS and Windows ("spawn"), or by a fork."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(method, force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["torchvision", "albumentations"])
def test_workers_that_are_no_forks_deliver_the_same(library: str) -> None:
    if reason := building.parse(library).library.problem("", "cpu"):
        pytest.skip(reason)
    found = []
    with used([str(ROOT / INVERTING)]):
        policy = augmentations.catalog.get("inverting")
        if library == "torchvision":
            ops = (AlternatingFlip(), RandAugment(), Affine(), *policy.ops)
        else:
            ops = (AlternatingFlip(), Affine())
        for method in ("fork", "spawn"):
            with (
                started_by(method),
                building.build(
                    f"{library}[workers=1]",
                    numbered(64),
                    replace(policy, ops=ops),
                    batch_size=32,
                ) as pipeline,
            ):
                found.append([x for index in (0, 1) for x, _ in pipeline.epoch(index)])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@dataclass(frozen=True, kw_only=True)
class Odd(Op):
    """Holds a function that no import finds."""

    change: Callable[[torch.Tensor], torch.Tensor] = lambda x: 255 - x
    implementations: ClassVar = {
        "torchvision": TorchvisionOp(build=lambda v2, op, images: v2.Lambda(op.change))
    }


def test_a_policy_that_cannot_be_sent_is_one_sentence() -> None:
    policy = Augmentation(ops=[Odd()])
    for method in ("fork", "spawn"):
        pipeline = building.build("torchvision[workers=1]", numbered(64), policy, batch_size=32)
        with started_by(method), pipeline:
            if method == "fork":
                assert len(list(pipeline.epoch(0))) == 2
            else:
                with pytest.raises(Unsupported, match=r"cannot be sent to them .*workers=0"):
                    next(iter(pipeline.epoch(0)))
