"""Light nets on a CPU compute with one thread, all others with as many as torch chooses."""

from collections.abc import Iterator

import pytest
import torch

from bench import threads as module
from bench.threads import computing, evaluating
from tests.made import made_cell


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(
    ("net", "scale", "device", "threads"),
    [
        ("cnn4", "cpu", "cpu", 1),
        ("cnn4", "full", "cpu", 3),
        ("cnn4", "full", "cuda", 3),
        ("resnet18", "cpu", "cpu", 3),
        ("timm:resnet10t", "cpu", "cpu", 3),  # nobody has counted its work
    ],
)
def test_threads_follow_net_scale_and_device(
    net: str, scale: str, device: str, threads: int
) -> None:
    with computing(made_cell(architecture=net, scale=scale, device=device)):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(
    ("scale", "asked", "threads"), [("cpu", "", 5), ("cpu", "2", 2), ("full", "2", 3)]
)
def test_evaluation_takes_all_cores_but_no_more_than_asked_for(
    scale: str, asked: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 5)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    cell = made_cell(architecture="cnn4", scale=scale, device="cpu")
    with computing(cell):
        within = torch.get_num_threads()
        with evaluating(cell):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == within


@pytest.mark.usefixtures("three_threads")
def test_an_error_leaves_the_number_as_it_was() -> None:
    with pytest.raises(RuntimeError), computing(made_cell()):
        raise RuntimeError
    assert torch.get_num_threads() == 3
