"""What Inductor writes for an H100: kernels and bytes of the nets' steps and of the loss."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import architectures
from bench.training import compiling
from tests.fake_cuda.inductor import Graph, on_cuda, own_decompositions, written_for
from tests.fake_cuda.test_runs import CELL

BATCH = 2000
# Kernels, and gigabytes that they move, of a forward and a backward pass of BATCH images. A number
# that grows is a step that became slower.
LIMITS = {"airnet94": (81, 7.8), "cnn4": (55, 8.09), "resnet9": (98, 24.6)}


@pytest.fixture(autouse=True)
def decompositions_restored() -> Iterator[None]:
    with own_decompositions():
        yield


def graphs_of(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, compiled: Callable[..., Any]
) -> list[Graph]:
    def make() -> Any:
        return compiled(on_cuda(architectures.build(name, classes=10, image_size=32)))

    return written_for(make, [(BATCH, 3, 32, 32)], folder, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIMITS)
def test_pools_are_gathered_backward(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = replace(CELL, architecture=name)
    graphs = graphs_of(name, tmp_path, monkeypatch, lambda net: compiling.compiled_net(net, cell))
    assert len(graphs) == 2
    assert not any("tl.atomic_add" in graph.code for graph in graphs)
    kernels, gigabytes = LIMITS[name]
    assert sum(graph.kernels for graph in graphs) <= kernels
    assert sum(graph.moved_bytes for graph in graphs) / 1e9 <= 1.01 * gigabytes


def test_the_decomposition_of_pools_would_move_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = graphs_of("cnn2", tmp_path, monkeypatch, lambda net: torch.compile(net, dynamic=False))
    found = graphs_of("cnn2", tmp_path, monkeypatch, lambda net: compiling.compiled_net(net, CELL))
    assert "tl.atomic_add" in graphs[1].code
    assert found[1].moved_bytes < 0.8 * graphs[1].moved_bytes


def test_the_loss_is_a_few_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Any:
        compiling.compiled_loss.cache_clear()
        loss = compiling.compiled_loss()
        labels = torch.zeros(BATCH, dtype=torch.int64, device="cuda")
        return lambda logits_BK: loss(logits_BK.requires_grad_(), labels, label_smoothing=0.2)

    graphs = written_for(make, [(BATCH, 10)], tmp_path, monkeypatch)
    compiling.compiled_loss.cache_clear()
    assert len(graphs) == 2
    assert sum(graph.kernels for graph in graphs) <= 4
