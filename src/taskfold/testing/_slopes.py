"""Checks gradients against finite differences, which alone reveal a gradient that is wrong in all forms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from ._compare import check_close

STEP = 1e-5
"""The step of finite differences, in double precision."""
TOLERANCE = 1e-4


def toward(output: Tensor) -> Tensor:
    """A fixed direction in which an output is projected."""
    return torch.linspace(-1, 1, output.numel(), dtype=output.dtype).sin().reshape(output.shape)


def check_slopes(
    place: str, run: Callable[[dict[str, Tensor]], Tensor], tensors: Mapping[str, Tensor], names: Collection[str]
) -> None:
    """Checks that the gradients of tensors are the slopes of their output, in one direction each.

    A tensor whose small changes have no effect is left out: the gradient through a step is a convention.

    Args:
        place: the computation, in words.
        run: tensors by name → the output, `[*]` in double precision.
        tensors: the tensors by name.
        names: the names of the checked tensors.

    Raises:
        AssertionError: a gradient differs.
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
