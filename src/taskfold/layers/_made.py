"""Checks of a factorisation when a task is added: its leaves, their initial values, the sizes that it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from functools import lru_cache

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ..factors import Factorisation, Leaf, Modes


def check_leaves(made: Factorisation, leaves: Mapping[str, Leaf]) -> None:
    """Checks that `leaves` are of class `Leaf`.

    Raises:
        ValueError: one is not; names the factorisation and the leaf.
    """
    for name, leaf in leaves.items():
        if not isinstance(leaf, Leaf):
            raise ValueError(f"leaves of {type(made).__name__} gives {name!r} as {type(leaf).__name__}, not as a Leaf")


def check_begun(made: Factorisation, leaves: Mapping[str, Leaf], values: Mapping[str, Tensor]) -> None:
    """Checks the names and shapes of the values of `Factorisation.begin`.

    Raises:
        ValueError: one is unknown or of another shape; names the factorisation, the leaf and its shape.
    """
    for name, value in values.items():
        if name not in leaves:
            raise ValueError(
                f"begin of {type(made).__name__} starts {name!r}, which is none of its leaves ({', '.join(leaves)}); "
                "name one of these"
            )
        if tuple(value.shape) != (shape := tuple(leaves[name].shape)):
            raise ValueError(
                f"begin of {type(made).__name__} starts leaf {name!r} at {tuple(value.shape)}, and it is {shape}"
            )


def check_sizes(made: Factorisation, modes: Modes) -> None:
    """Checks that a factorisation makes weights of the layer's shape.

    Raises:
        ValueError: it does not; names the factorisation and both shapes.
    """
    try:
        found = _sizes(made, modes)
    except TypeError:  # an unhashable setting
        found = _sizes.__wrapped__(made, modes)
    for what, shape in found.items():
        if shape != modes.shape:
            raise ValueError(f"{what} of {type(made).__name__} makes {shape}, and the layer's weight is {modes.shape}")


@lru_cache(1024)
def _sizes(made: Factorisation, modes: Modes) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights that a factorisation makes, computed without data; failures are left out."""
    found: dict[str, tuple[int, ...]] = {}
    ways: dict[str, Callable[[Mapping[str, Tensor]], Tensor | None]] = {
        "materialise": lambda leaves: made.materialise(leaves, modes),
        "whole": lambda leaves: made.whole(leaves, torch.empty(modes.shape), modes),
        "bottleneck": lambda leaves: None if (two := made.bottleneck(leaves, modes)) is None else two.dense(),
    }
    for what, way in ways.items():
        # Fake tensors mix with real ones that a factorisation may hold, but take ten times as long.
        for place, mode in (("meta", nullcontext()), ("cpu", FakeTensorMode(allow_non_fake_inputs=True))):
            with suppress(Exception), torch.no_grad(), torch.device(place), mode:
                leaves = {name: torch.empty(tuple(leaf.shape)) for name, leaf in made.leaves(modes).items()}
                if (weight := way(leaves)) is not None:
                    found[what] = tuple(weight.shape)
                break
    return found
