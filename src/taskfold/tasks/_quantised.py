"""Quantises a network that stays known by its original weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ._fingerprint import QUANTISED, fingerprint, identity


def quantised(network: nn.Module, recipe: str, by: Callable[[nn.Module], Any]) -> nn.Module:
    """Quantise a network, and record its original identity.

    Files of its tasks state the fingerprint of the original weights, the recipe, and the fingerprint of the result.
    They load onto a network with the same packed numbers, and onto the original one, where they can be folded; tasks
    of the original one load here.

    Args:
        network: has plain weights.
        recipe: the quantisation in words: "int8 weight-only".
        by: quantises the network in place, or returns a quantised one.

    Raises:
        ValueError: the recipe is empty, or the network is quantised already, or `by` has changed nothing.
        TypeError: `by` returns neither a module nor None.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(4, 4))
        >>> def halves(net: nn.Module) -> None:
        ...     net[0].weight.data = (net[0].weight.data * 2).round() / 2
        >>> quantised(net, "multiples of one half", by=halves) is net
        True
    """
    if not recipe.strip():
        raise ValueError(f"recipe must say in words what is done to the weights, found {recipe!r}")
    if (before := network.__dict__.get(QUANTISED)) is not None:
        raise ValueError(
            f"the network is quantised already ({before['quantised']['recipe']}); quantise the one with plain weights"
        )
    plain = identity(network)
    given = by(network)
    made = network if given is None else given
    if not isinstance(made, nn.Module):
        raise TypeError(
            f"by must return the quantised network, or None if it changes it, found a {type(made).__name__}"
        )
    if (found := fingerprint(made)) == plain["fingerprint"]:
        raise ValueError(f"recipe {recipe!r} has changed no number of the network; check what `by` does")
    made.__dict__[QUANTISED] = {**plain, "quantised": {"recipe": recipe, "fingerprint": found}}
    return made
