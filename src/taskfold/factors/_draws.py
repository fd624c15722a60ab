"""Numbers drawn by a counter, in whole numbers alone: the same on every machine.

SplitMix64 (Steele, Lea and Flood 2014). A number depends on the seed, the stream and its place there, and on nothing
that was drawn before.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GAMMA, _ONE, _TWO = (n - (1 << 64) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
"""Odd numbers of SplitMix64; products of 64-bit integers wrap, so that the sign does not matter."""
LAST_SEED = (1 << 31) - 1
"""The largest seed of streams."""


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


def shuffle(seed: int, stream: int, exponent: int, device: torch.device | str = "cpu") -> Tensor:
    """`[2^exponent]` int64: the numbers from 0 on in another order, without a sort.

    Four rounds of x ← (a x + b) mod 2^exponent, a odd, and x ← x ⊕ (x >> s), each of which is one to one.
    """
    size = 1 << exponent
    order = torch.arange(size, dtype=torch.int64, device=device)
    for factor, addend in bits(seed, stream, 8).unflatten(0, (4, 2)).tolist():
        order = (order * (factor | 1) + addend) & (size - 1)
        order = order ^ (order >> max(1, exponent // 2))
    return order


def signs(seed: int, stream: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """`[count]` int64, −1 or 1."""
    words = bits(seed, stream, -(-count // 64), device)
    drawn = (words.unsqueeze(-1) >> torch.arange(64, device=device)) & 1
    return (2 * drawn - 1).flatten()[:count]


def normals(seed: int, stream: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """`[count]` int64, of mean 0: the eight bytes of a number added up, less 1020. Nearly normal, in units of 1/209.

    Logarithms and cosines differ from machine to machine in their last bit; whole numbers do not.
    """
    drawn = bits(seed, stream, count, device)
    two = (drawn & 0x00FF00FF00FF00FF) + ((drawn >> 8) & 0x00FF00FF00FF00FF)
    four = two + (two >> 16)
    return ((four + (four >> 32)) & 0xFFFF) - 1020


def _mixed(x: Tensor) -> Tensor:
    x = (x + 1) * _GAMMA
    x = (x ^ _right(x, 30)) * _ONE
    x = (x ^ _right(x, 27)) * _TWO
    return x ^ _right(x, 31)


def _right(x: Tensor, by: int) -> Tensor:
    """Bits moved to the right, zeros from the left."""
    return (x >> by) & ((1 << (64 - by)) - 1)
