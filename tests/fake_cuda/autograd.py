"""The backward pass in Python, because torch's engine needs a real CUDA context."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def backward(loss: Tensor, *args: object, **options: object) -> None:
    """Stands in for `Tensor.backward` of a scalar: adds to the gradients of its leaves."""
    with torch.no_grad():
        for node, slots in _gradients([loss], [torch.ones_like(loss)], []).items():
            leaf, gradient = node.variable, slots[0].detach()
            if gradient.stride() != leaf.stride():
                gradient = torch.empty_like(leaf).copy_(gradient)
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient


def grad(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    grad_outputs: Sequence[Tensor],
    **options: object,
) -> tuple[Tensor | None, ...]:
    """Stands in for `torch.autograd.grad`; None for inputs that are not used."""
    with torch.no_grad():
        found = _gradients(outputs, grad_outputs, inputs)
    leaves = {id(node.variable): slots[0] for node, slots in found.items() if _is_leaf(node)}
    return tuple(
        leaves.get(id(one))
        if one.grad_fn is None
        else found.get(one.grad_fn, {}).get(one.output_nr)
        for one in inputs
    )


def _gradients(
    outputs: Sequence[Tensor], grad_outputs: Sequence[Tensor], inputs: Sequence[Tensor]
) -> dict[Any, dict[int, Tensor]]:
    """The gradients that reach leaves and the nodes of `inputs`, by node and its output."""
    ends = {one.grad_fn for one in inputs}
    waiting: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    for output, gradient in zip(outputs, grad_outputs, strict=True):
        _add(waiting[output.grad_fn], output.output_nr, gradient, output)
    found = {}
    for node in reversed(_nodes_before(list(waiting))):
        slots = waiting.pop(node, {})
        if node in ends or _is_leaf(node):
            found[node] = slots
        elif slots:
            given = node(*(slots.get(number) for number in range(len(node._input_metadata))))
            given = given if isinstance(given, tuple) else (given,)
            for (source, number), gradient in zip(node.next_functions, given, strict=True):
                if source is not None and gradient is not None:
                    _add(waiting[source], number, gradient, source._input_metadata[number])
    return {node: slots for node, slots in found.items() if slots}


def _is_leaf(node: Any) -> bool:
    return hasattr(node, "variable")


def _nodes_before(last: Sequence[Any]) -> list[Any]:
    """The graph's nodes, each after those whose results it uses."""
    order: list[Any] = []
    seen: set[Any] = set()
    stack = [(node, False) for node in last]
    while stack:
        node, finished = stack.pop()
        if finished:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(source, False) for source, _ in node.next_functions if source is not None]
    return order


def _add(slots: dict[int, Tensor], number: int, gradient: Tensor, like: Any) -> None:
    if gradient.shape != like.shape:
        gradient = gradient.sum_to_size(like.shape)
    if gradient.dtype != like.dtype:
        gradient = gradient.to(like.dtype)
    slots[number] = slots[number] + gradient if number in slots else gradient
