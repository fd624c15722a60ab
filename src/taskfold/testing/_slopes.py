"""Gradients against the slopes of what is computed: one that is wrong in all forms alike is found by these alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from ._compare import check_close

STEP = 1e-5
"""Of a difference, in double precision."""
TOLERANCE = 1e-4


def toward(output: Tensor) -> Tensor:
    """A direction in which an output is looked at, the same every time."""
    return torch.linspace(-1, 1, output.numel(), dtype=output.dtype).sin().reshape(output.shape)


def check_slopes(
    place: str, run: Callable[[dict[str, Tensor]], Tensor], tensors: Mapping[str, Tensor], names: Collection[str]
) -> None:
    """The gradients of tensors are the slopes of what is made of them, in one direction each.

    A tensor whose small changes change nothing is left out: the gradient through a step is a matter of choice.

    Args:
        place: what makes it, in words.
        run: tensors by name → the output, `[*]` in double precision.
        tensors: by name.
        names: of those that are tried.

    Raises:
        AssertionError: a gradient is another.
    """
    leaves = {name: tensor.detach().clone().requires_grad_(name in names) for name, tensor in tensors.items()}
    output = run(leaves)
    if not output.requires_grad:
        return
    ahead = toward(output.detach())
    wanted = [leaves[name] for name in names]
    found = torch.autograd.grad((output * ahead).sum(), wanted, allow_unused=True)
    for name, gradient in zip(names, found, strict=True):
        along = torch.linspace(1, 3, leaves[name].numel(), dtype=leaves[name].dtype).cos().reshape(leaves[name].shape)
        with torch.no_grad():
            up, down = (run({**leaves, name: leaves[name] + sign * STEP * along}) for sign in (1, -1))
            slope = ((up - down) * ahead).sum() / (2 * STEP)
        if slope:
            mine = torch.zeros_like(slope) if gradient is None else (gradient * along).sum()
            check_close(f"{place}: gradient of {name!r}, against the slope", mine, slope, tolerance=TOLERANCE)
