"""Equality of tensors, meaningful only where two tasks differ by more than a floor."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

FLOOR = 100
"""The least difference between two tasks, in tolerances, at which equality identifies one of them."""
TOLERANCE = 1e-4
DOUBLE = 1e-7
"""Tolerance in double precision."""


def distance(found: Tensor, wanted: Tensor, tolerance: float) -> float:
    """The largest difference, in tolerances: `|found - wanted| / (tolerance · (1 + |wanted|))`."""
    if not found.numel():
        return 0.0
    found, wanted = found.detach().double(), wanted.detach().double()
    return float(((found - wanted).abs() / (tolerance * (1 + wanted.abs()))).nan_to_num(torch.inf).max())


def common(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """The common part of two tensors: heads of two tasks may differ in size."""
    sizes = [slice(min(a, b)) for a, b in zip(one.shape, other.shape, strict=True)]
    return one[tuple(sizes)], other[tuple(sizes)]


def check_close(
    place: str, found: Tensor, wanted: Tensor, other: Tensor | None = None, tolerance: float = TOLERANCE
) -> None:
    """Checks that tensors are equal within a tolerance, while another task's tensor differs.

    Args:
        place: the compared quantity, in words.
        found, wanted: tensors of one shape.
        other: another task's tensor; None: the tensors are equal for all tasks.
        tolerance: relative to 1 + |wanted|.

    Raises:
        AssertionError: they differ, or the other task's differs by less than `FLOOR` tolerances.
    """
    assert found.shape == wanted.shape, f"{place}: shape {tuple(found.shape)}, not {tuple(wanted.shape)}"
    if other is not None:
        apart = distance(*common(other, wanted), tolerance)
        assert apart >= FLOOR, (
            f"{place}: another task differs there by {apart:.3g} tolerances of {tolerance:g}, fewer than {FLOOR}, so "
            "that equality shows nothing; let the tasks differ more"
        )
    off = distance(found, wanted, tolerance)
    if off > 1:
        at = int((found.double() - wanted.double()).abs().nan_to_num(torch.inf).argmax())
        raise AssertionError(
            f"{place}: found {found.flatten()[at].item():.6g} where {wanted.flatten()[at].item():.6g} was wanted "
            f"(number {at} of {found.numel()}), which is off by {off:.3g} tolerances of {tolerance:g}"
        )


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's state."""
    return {key: value.clone() for key, value in module.state_dict().items()}


def check_same(what: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Checks that states are equal to the last bit.

    Raises:
        AssertionError: a tensor is missing, new, or different.
    """
    odd = sorted(found.keys() ^ wanted.keys())
    assert not odd, f"{what}: {odd[0]!r} is only in one of the two"
    for key, tensor in wanted.items():
        if not torch.equal(found[key], tensor):
            off = (found[key].double() - tensor.double()).abs().max().item()
            raise AssertionError(f"{what}: {key!r} is another, by up to {off:.3g}")
