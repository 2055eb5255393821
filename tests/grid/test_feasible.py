"""The plan refuses cells that cannot work on the images, before a worker starts."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import architectures
from architectures import Architecture, Spec
from bench import process
from bench.cell import Run
from bench.grid.feasible import Feasibility
from pipelines import augmentations, building, shared_memory
from pipelines.augmentations import Augmentation
from pipelines.catalog import Catalog, Origin
from pipelines.ops import Cutout
from tests.made import made_cell, made_run
from tests.made_device import made_data

BALANCED = made_data([i % 10 for i in range(1000)])


def small_run(**cell: Any) -> Run:
    small = {"architecture": "cnn2", "width": 0.125, "train_images": None, "batch_size": 64}
    return made_run(**small | cell)


def problem(data: Any = BALANCED, **cell: Any) -> str:
    return Feasibility(data).problem(small_run(**cell))


@contextmanager
def registered(catalog: Catalog[Any], *entries: Any) -> Iterator[None]:
    origin = Origin(name="mine.py", digest="0", place="/mine.py")
    catalog.register(entries, origin)
    try:
        yield
    finally:
        catalog.unregister(origin)


@pytest.mark.parametrize(
    ("images", "cell", "left"),
    [
        (1000, {}, None),
        (74, {}, None),
        (73, {}, 63),
        (1000, {"train_images": 20}, 20),
        (20, {}, 10),
        (64, {}, 54),
        (64, {"protocol": "speedrun"}, None),  # holds nothing out
    ],
)
def test_a_batch_is_no_larger_than_the_training_set(
    images: int, cell: dict[str, Any], left: int | None
) -> None:
    message = problem(made_data([i % 10 for i in range(images)]), **cell)
    assert message == (
        ""
        if left is None
        else f"shapes has {left} training images after the split, fewer than a batch of 64: "
        f"add --set batch_size={left}"
    )


@pytest.mark.parametrize(
    "pipeline", ["native", "kornia", "torchvision[workers=0]", "torchvision_batch", "dali"]
)
def test_ops_that_do_not_fit_get_the_same_sentence_in_all_pipelines(pipeline: str) -> None:
    policy = Augmentation(name="big_cutout", ops=[Cutout(size=33)])
    with registered(augmentations.catalog, policy):
        message = problem(augmentation="big_cutout", pipeline=pipeline)
    fitting = "Cutout(size=33) does not fit images of 32 x 32 pixels: its size is at most 31"
    assert message == fitting


@pytest.mark.parametrize(
    ("form", "suffix", "refused"), [("GIF", ".gif", True), ("WEBP", ".webp", False)]
)
def test_files_that_a_library_cannot_decode_are_refused_in_the_plan(
    form: str, suffix: str, refused: bool, tmp_path: Path
) -> None:
    files = [tmp_path / f"{number}{suffix}" for number in range(100)]
    for path in files:
        Image.new("RGB", (8, 8)).save(path, format=form)
    data = made_data([number % 10 for number in range(100)])
    decoding = replace(data, train=replace(data.train, files=tuple(files)))
    for pipeline in ("dali", "dali[dynamic]", "native"):
        assert problem(data, pipeline=pipeline) == ""
        message = problem(decoding, pipeline=pipeline)
        if refused and pipeline != "native":
            assert message.startswith(f"dali cannot decode {form} files such as {tmp_path}")
        else:
            assert message == ""


class Answers(nn.Module):
    """A net with a function that changes its output."""

    def __init__(self, spec: Spec, change: Callable[..., Any]) -> None:
        super().__init__()
        self.layer, self.change = nn.Linear(spec.channels, spec.classes), change

    def forward(self, x_BCHW: torch.Tensor) -> Any:
        return self.change(self.layer(x_BCHW.mean(dim=(2, 3))))


def made_net(change: Callable[..., Any]) -> Architecture:
    def build(spec: Spec) -> nn.Module:
        return Answers(spec, change)

    return Architecture(name="mine", why="a test", reference="-", build=build, parameters=1)


def fails(logits_BK: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("mat1 and mat2\ncannot be multiplied")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y, ""),
        (lambda y: y[:, :7], "mine gives (64, 7), wanted (64, 10)"),
        (lambda y: y.repeat(1, 100), "mine gives (64, 1000), wanted (64, 10)"),
        (lambda y: y[:, :, None, None], "mine gives (64, 10, 1, 1), wanted (64, 10)"),
        (lambda y: y.mean(), "mine gives (), wanted (64, 10)"),
        (lambda y: (y, y), "mine gives a tuple, wanted (64, 10)"),
        (lambda y: {"logits": y}, "mine gives a dict, wanted (64, 10)"),
        (lambda y: None, "mine gives None, wanted (64, 10)"),
        (lambda y: y.long(), "mine gives torch.int64, wanted (64, 10)"),
        (lambda y: y * float(y.sum().item() < 1e9), ""),  # not possible without data
        (lambda y: (y * y.sum().item())[:, :7], "mine gives (2, 7), wanted (2, 10)"),
        (fails, "mine cannot take images of 32 x 32 pixels: mat1 and mat2"),
    ],
)
def test_a_net_gives_logits_or_is_refused(change: Callable[..., Any], message: str) -> None:
    with registered(architectures.catalog, made_net(change)):
        assert problem(architecture="mine") == message


@pytest.mark.skipif(sys.platform != "linux", reason="nets are tried in a fork")
@pytest.mark.parametrize(
    ("ends", "how"),
    [
        (lambda y: os.kill(os.getpid(), signal.SIGSEGV), "its process died of SIGSEGV"),
        (lambda y: os._exit(3), "its process exited with 3"),
        (lambda y: time.sleep(600), "it did nothing for 1 s"),
    ],
)
def test_a_net_that_ends_its_process_is_refused_and_others_are_tried(
    ends: Callable[..., Any], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SILENCE_S", 1.0)
    monkeypatch.setattr(process, "LOOK_S", 0.1)
    feasible, nets = Feasibility(BALANCED), (made_net(ends), replace(made_net(id), name="other"))
    with registered(architectures.catalog, *nets):
        runs = [small_run(architecture=net.name, pipeline="native") for net in nets]
        first, second = map(feasible.problem, runs)
    feasible.close()
    assert first == f"mine cannot be tried: {how}"
    assert second == "other gives a int, wanted (64, 10)"


def test_a_net_with_other_outputs_in_evaluation_is_refused() -> None:
    net = made_net(lambda y: y)

    def build(spec: Spec) -> nn.Module:
        module = net.build(spec)
        module.register_forward_hook(lambda m, x, y: y if m.training else (y,))
        return module

    with registered(architectures.catalog, replace(net, build=build)):
        shape = {"classes": 10, "image_size": 32, "channels": 3, "width": 1.0, "batch_size": 64}
        message = architectures.problem("mine", **shape)
        assert message == "mine gives a tuple, wanted (64, 10)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y[:, :7], "mine gives (64, 7), wanted (64, 10)"),
        (fails, ""),  # without memory; the worker tries it on the device
        (lambda y: os.abort(), "mine cannot be tried: its process died of SIGABRT"),
    ],
)
def test_a_plugins_net_is_tried_without_memory(change: Callable[..., Any], message: str) -> None:
    with registered(architectures.catalog, made_net(change)):
        run = small_run(architecture="mine", pipeline="native")
        run = replace(run, versions=run.versions | {"architecture": "1 of mine.py 0"})
        assert Feasibility(BALANCED).problem(run) == message


@pytest.mark.parametrize("net", ["vit_tiny", "vgg11_bn"])
def test_a_net_that_cannot_take_the_size_is_refused(net: str) -> None:
    data = made_data([i % 10 for i in range(1000)], size=9)
    message = problem(data, architecture=net, augmentation="none", pipeline="native")
    assert message.startswith(f"{net} cannot take images of 9 x 9 pixels")


def test_the_commonest_class_limits_the_target() -> None:
    feasible = Feasibility(made_data([0] * 950 + [1] * 50, classes=2))
    cells = [made_cell(target_accuracy=target, train_images=None) for target in (0.96, 0.95, 0.9)]
    assert [bool(feasible.target_problem(cell)) for cell in cells] == [False, True, True]
    assert feasible.target_problem(cells[2]) == (
        "The target of 90.0% is no more than the 95.0% of validation images that are 'class 0': a "
        "net that always answers 'class 0' reaches it, so no time to accuracy is given. "
        "Choose a higher --target."
    )
    runs = [replace(made_run(seed), cell=cell) for cell in cells for seed in (0, 1)]
    assert len(feasible.warnings(runs)) == 2, "one for each target"
    speedrun = replace(runs[-1], cell=replace(cells[2], protocol="speedrun"))
    assert feasible.warnings([speedrun]) == []


@pytest.mark.parametrize(
    ("workers", "batch", "free_mib", "needed"),
    [(8, 512, 16, 24), (8, 512, 64, None), (0, 512, 1, None), (1, 64, 1, 2), (8, 512, None, None)],
)
def test_batches_of_workers_fit_into_shared_memory(
    workers: int,
    batch: int,
    free_mib: int | None,
    needed: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = None if free_mib is None else free_mib * 2**20
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: free)
    data = made_data([i % 10 for i in range(2000)])
    message = problem(data, pipeline=f"torchvision[workers={workers}]", batch_size=batch)
    if needed is None:
        assert message == ""
    else:
        assert message.startswith(
            f"torchvision[workers={workers}] needs {needed} MiB of shared memory for its workers' "
            f"batches, /dev/shm has {free_mib} MiB free: take fewer workers"
        )
        assert "docker run --shm-size=1g" in message
    assert problem(data, pipeline="native", batch_size=batch) == ""


def test_large_images_need_more_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: 64 * 2**20)
    images = made_data([i % 10 for i in range(9000)], size=224).train
    policy = augmentations.catalog.get("none")
    variant = building.parse("torchvision[workers=8]")
    assert "needs 625 MiB" in building.unfit(variant, policy, images, 64)
    assert "--shm-size=5g" in building.unfit(variant, policy, images, 512)
