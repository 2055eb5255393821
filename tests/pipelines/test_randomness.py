"""A library's draws from the global generators stay apart from everybody else's."""

import torch

from pipelines.randomness import OwnStream

CPU = torch.device("cpu")


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
