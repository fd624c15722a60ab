"""Numbers drawn by a counter, in whole numbers alone: the same on every machine.

SplitMix64 (Steele, Lea and Flood 2014). A number depends on the seed, the stream and its place there, and on nothing
that was drawn before.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GAMMA, _ONE, _TWO = (n - (1 << 64) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
"""Odd numbers of SplitMix64; products of 64-bit integers wrap, so that the sign does not matter."""


def check_seed(seed: object) -> None:
    """A seed of streams.

    Raises:
        ValueError: it is no whole number from 0 to 2³¹ − 1.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 1 << 31:
        raise ValueError(f"seed must be a whole number from 0 to 2³¹ − 1, found {seed!r}")


def bits(seed: int, stream: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """`[count]` int64, 64 random bits each.

    Example:
        >>> bits(0, 1, 5).equal(bits(0, 1, 9)[:5]), bits(0, 1, 5).equal(bits(0, 2, 5))
        (True, False)
    """
    start = _mixed(_mixed(torch.tensor(seed, dtype=torch.int64, device=device)) + stream)
    return _mixed(start + torch.arange(count, dtype=torch.int64, device=device))


def permutation(seed: int, stream: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """`[count]` int64: the numbers from 0 on in another order."""
    return bits(seed, stream, count, device).sort(stable=True).indices


def normals(seed: int, stream: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """`[count]` int64, in units of 2⁻¹⁶: sums of twelve uniform numbers less 6, of mean 0 and variance 1.

    Logarithms differ from machine to machine in their last bit; whole numbers do not.
    """
    total = torch.full((count,), -6 * 0xFFFF, dtype=torch.int64, device=device)
    for part in range(3):
        drawn = bits(seed, 3 * stream + part, count, device)
        for shift in (0, 16, 32, 48):
            total += (drawn >> shift) & 0xFFFF
    return total


def _mixed(x: Tensor) -> Tensor:
    x = (x + 1) * _GAMMA
    x = (x ^ _right(x, 30)) * _ONE
    x = (x ^ _right(x, 27)) * _TWO
    return x ^ _right(x, 31)


def _right(x: Tensor, by: int) -> Tensor:
    """Bits moved to the right, zeros from the left."""
    return (x >> by) & ((1 << (64 - by)) - 1)
