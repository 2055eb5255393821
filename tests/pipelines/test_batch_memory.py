"""Memory of batches: used again when nobody holds it, and never before."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipelines.batch_memory import MAX_KEPT, BatchMemory

SHAPE = (4, 3, 2, 2)


def reused(memory_format: torch.memory_format = torch.channels_last) -> BatchMemory:
    return BatchMemory(SHAPE, torch.float32, memory_format)


def holders_of(tensor: Tensor) -> dict[str, object]:
    """Ways to hold a batch's memory without the batch itself."""
    return {
        "view": tensor[1:],
        "detached": tensor.detach(),
        "numpy": tensor.numpy(),
        "iterator": iter(tensor),
        "activation": (tensor * torch.ones((), requires_grad=True)).sum(),
        "dlpack": torch.utils.dlpack.to_dlpack(tensor),
    }


def test_memory_in_use_is_not_reused() -> None:
    for name in holders_of(torch.zeros(SHAPE)):
        memory = reused()
        tensor = memory.take()
        place, held = tensor.data_ptr(), holders_of(tensor)[name]
        del tensor
        assert memory.take().data_ptr() != place, name
        del held
        assert memory.take().data_ptr() == place, name


def test_memory_shared_with_another_process_is_never_given_again() -> None:
    memory = reused()
    tensor = memory.take()
    tensor.share_memory_()
    place = tensor.data_ptr()
    del tensor
    assert all(memory.take().data_ptr() != place for _ in range(3))


def test_at_most_two_blocks_are_kept() -> None:
    memory = reused()
    held = [memory.take() for _ in range(10)]
    kept = {tensor.data_ptr() for tensor in held[:MAX_KEPT]}
    held.clear()
    first, second = memory.take(), memory.take()
    assert {first.data_ptr(), second.data_ptr()} == kept


@given(st.lists(st.integers(min_value=0, max_value=5), max_size=40))
def test_memory_in_use_is_never_overwritten(moves: list[int]) -> None:
    memory = reused()
    held: list[tuple[int, Tensor]] = []
    for number, move in enumerate(moves):
        if move < 3:
            tensor = memory.take()
            tensor.fill_(number)
            held.append((number, tensor[move]))
        elif held:
            held.pop(move % len(held))
        assert all((tensor == value).all() for value, tensor in held)
