"""A library's draws from the global generators stay apart from everybody else's."""

import torch

from pipelines.randomness import OwnStream

CPU = torch.device("cpu")


def test_outside_draws_are_as_if_nothing_had_been_drawn_inside() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    stream = OwnStream(7, CPU)
    with stream.drawing():
        torch.rand(100)
    assert torch.equal(torch.rand(3), expected)


def test_the_stream_goes_on_whatever_is_drawn_between() -> None:
    stream = OwnStream(7, CPU)
    with stream.drawing():
        first = torch.rand(3)
    torch.rand(50)
    with stream.drawing():
        second = torch.rand(3)
    other = OwnStream(7, CPU)
    with other.drawing():
        both = torch.rand(3), torch.rand(3)
    assert torch.equal(first, both[0])
    assert torch.equal(second, both[1])


def test_other_seeds_give_other_streams_and_an_error_leaves_the_rest_untouched() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    streams = [OwnStream(seed, CPU) for seed in (7, 8)]
    drawn = []
    for stream in streams:
        try:
            with stream.drawing():
                drawn.append(torch.rand(3))
                raise ValueError
        except ValueError:
            pass
    assert not torch.equal(*drawn)
    assert torch.equal(torch.rand(3), expected)
