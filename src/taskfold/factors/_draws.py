"""Random numbers from a counter, by integer arithmetic alone: the same on every machine.

SplitMix64 (Steele, Lea and Flood 2014). A number depends on the seed, the stream and its index, not on earlier draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GAMMA, _ONE, _TWO = (n - (1 << 64) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
"""Odd constants of SplitMix64; products of 64-bit integers wrap, so that the sign does not matter."""
LAST_SEED = (1 << 31) - 1


def bits(seed: int, stream: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Random bits as `[count]` int64.

    Example:
        >>> bits(0, 1, 5).equal(bits(0, 1, 9)[:5]), bits(0, 1, 5).equal(bits(0, 2, 5))
        (True, False)
    """
    start = _mixed(_mixed(torch.tensor(seed, dtype=torch.int64, device=device)) + stream)
    return _mixed(start + torch.arange(count, dtype=torch.int64, device=device))


def permutation(seed: int, stream: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """A permutation of 0 to count − 1, `[count]` int64."""
    return bits(seed, stream, count, device).sort(stable=True).indices


def shuffle(seed: int, stream: int, exponent: int, device: torch.device | str = "cpu") -> Tensor:
    """A permutation of 0 to 2^exponent − 1, int64, made without a sort.

    Four rounds of x ← (a x + b) mod 2^exponent, a odd, and x ← x ⊕ (x >> s), each of which is one to one.
    """
    size = 1 << exponent
    order = torch.arange(size, dtype=torch.int64, device=device)
    for factor, addend in bits(seed, stream, 8).unflatten(0, (4, 2)).tolist():
        order = (order * (factor | 1) + addend) & (size - 1)
        order = order ^ (order >> max(1, exponent // 2))
    return order


def signs(seed: int, stream: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Random signs, −1 or 1, `[count]` int64."""
    words = bits(seed, stream, -(-count // 64), device)
    drawn = (words.unsqueeze(-1) >> torch.arange(64, device=device)) & 1
    return (2 * drawn - 1).flatten()[:count]


def normals(seed: int, stream: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Nearly normal numbers `[count]`, int64, in units of 1/209: the sum of eight random bytes, less 1020.

    Logarithms and cosines differ between machines in the last bit; integers do not.
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
    """A logical shift to the right."""
    return (x >> by) & ((1 << (64 - by)) - 1)
