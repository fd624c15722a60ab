"""Products of activations with R channels, in both memory formats, without copies.

Activations are rows `[N, C]`, or maps `[B, C, …]` of one to three axes with channels first or last in memory.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor


def thin(a: Tensor, x: Tensor) -> Tensor:
    """Applies `a` `[R, C]` at each position of x."""
    if x.dim() == 2:
        return F.linear(x, a)
    if _channels_last(x):
        return _back(F.linear(_rows(x), a), x)
    return torch.bmm(a.expand(x.shape[0], -1, -1), _positions(x)).reshape(x.shape[0], a.shape[0], *x.shape[2:])


def outer(z: Tensor, x: Tensor) -> Tensor:
    """Σ over positions of z xᵀ, `[R, C]`: the gradient of `a` in `thin(a, x)`."""
    if x.dim() == 2:
        return z.mT @ x
    if _channels_last(x):
        return _rows(z).mT @ _rows(x)
    return torch.bmm(_positions(z), _positions(x).mT).sum(0)  # a third faster than x zᵀ


def plus(y: Tensor, a: Tensor, z: Tensor) -> Tensor:
    """`y + a z` in one operation; `a` `[C, R]`."""
    if y.dim() == 2:
        return torch.addmm(y, z, a.mT)
    if _channels_last(y):
        return _back(torch.addmm(_rows(y), _rows(z), a.mT), y)
    return torch.baddbmm(_positions(y), a.expand(y.shape[0], -1, -1), _positions(z)).reshape(y.shape)


def plus_(y: Tensor, a: Tensor, z: Tensor) -> Tensor:
    """`plus` in place, for a fresh y: new memory costs more than the product."""
    if y.dim() == 2:
        return y.addmm_(z, a.mT)
    if _channels_last(y):
        if not y.movedim(1, -1).is_contiguous():  # a crop has gaps
            y = y.movedim(1, -1).contiguous().movedim(-1, 1)
        y.movedim(1, -1).view(-1, y.shape[1]).addmm_(_rows(z), a.mT)
        return y
    y = y.contiguous()
    y.view(*y.shape[:2], prod(y.shape[2:])).baddbmm_(a.expand(y.shape[0], -1, -1), _positions(z))
    return y


def _channels_last(x: Tensor) -> bool:
    return x.stride(1) == 1 and not x.is_contiguous()


def _rows(x: Tensor) -> Tensor:
    """The positions of all maps, `[N, C]`."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def _back(rows: Tensor, x: Tensor) -> Tensor:
    """`[N, C]` as maps of x's sizes, channels last in memory."""
    return rows.reshape(x.shape[0], *x.shape[2:], rows.shape[-1]).movedim(-1, 1)


def _positions(x: Tensor) -> Tensor:
    """`[B, C, positions]`; reshape, since batched gradients lack flatten. B may be 0."""
    return x.reshape(*x.shape[:2], prod(x.shape[2:]))
