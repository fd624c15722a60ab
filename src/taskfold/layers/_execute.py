"""How an update runs: beside the layer through its bottleneck, or as a materialised weight.

Three forms, one value: *factored* (down, kernel, up on the activations), *materialised* (one convolution with
W + ΔW) and, for rows with different tasks, the factors or weights of each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..factors import Bottleneck
from ._selection import Groups
from ._stand_in import stand_in
from ._update import WeightUpdate, bottlenecks, stacked

FACTORED_BELOW = 0.1
"""Run factored where its multiply-adds are below this fraction of the layer's own.

Training through a materialised weight costs one more convolution (the weight's gradient) whatever the rank; the
factored path grows with it. Measured break-even for 3×3 layers lies between 0.03 (factored wins) and 0.19.
"""


def factored_pays(module: nn.Module, rank: int) -> bool:
    """Whether the factored form of a rank-R update is the cheaper one on this layer."""
    if isinstance(module, nn.Conv2d):
        if module.groups > 1:
            return False
        out, inp, *kernel = module.weight.shape
        size = kernel[0] * kernel[1]
        return rank * (inp + size + out) <= FACTORED_BELOW * inp * size * out
    return isinstance(module, nn.Linear)


def beside(module: nn.Module, update: WeightUpdate, made: Bottleneck | None, x: Tensor, y: Tensor) -> Tensor:
    """`y = layer(x)` with the update of one task added through its bottleneck; None: that is still to be made."""
    factors = made or update.bottleneck(_dtype(module))
    assert factors is not None
    return _one(module, factors, update, x, y)


def beside_rows(
    module: nn.Module, updates: Sequence[WeightUpdate | None], made: Bottleneck | None, rows: Rows, x: Tensor, y: Tensor
) -> Tensor:
    """The same for one view where every row has its own task; an update that is None: that task adds nothing."""
    present = next(update for update in updates if update is not None)
    dtype, depthwise = _dtype(module), isinstance(module, nn.Conv2d) and module.groups > 1
    if present.rule.draws_per_row(present.training) and not depthwise:
        drawn = present.bottleneck(dtype, _per_row(updates, rows.index))
        assert drawn is not None
        return _with_rows(module, drawn, present, x, y)
    factors = made or (None if depthwise else bottlenecks(updates, dtype))
    if factors is None:
        zero = torch.zeros_like(present.dense(dtype))
        weights = torch.stack([zero if u is None else u.dense(dtype) for u in updates])[rows.index]
        return _onto_rows(y, _weights_per_row(module, weights, x), present)
    if factors.up.dim() == 2:  # a rule that gives all of them the same
        return _one(module, factors, present, x, y)
    if rows.groups is None:
        return _with_rows(module, factors.rows(rows.index), present, x, y)
    if rows.groups.alike and isinstance(module, nn.Linear):
        return _with_equal_groups(factors, rows.groups, present, x, y)
    return _with_groups(module, factors, rows.groups, present, x, y)


@dataclass(frozen=True)
class Rows:
    """The task of each row of a layer's input: `[B]` index, and its grouping if that pays."""

    index: Tensor
    groups: Groups | None


def _per_row(updates: Sequence[WeightUpdate | None], index: Tensor) -> dict[str, Tensor]:
    alike = [update for update in updates if update is not None]
    if len(alike) != len(updates) or not all(alike[0].like(other) for other in alike):
        raise ValueError(
            "allocation='random' draws for every row and needs all tasks of a batch to be of the same method; "
            "train them with one method, or in batches of their own"
        )
    return {name: own[index] for name, own in stacked(alike).items()}


def _with_groups(
    module: nn.Module, factors: Bottleneck, groups: Groups, present: WeightUpdate, x: Tensor, y: Tensor
) -> Tensor:
    """Each task's factors on its own rows: no factor is ever copied for a row."""
    if groups.order is not None:
        x = x.index_select(0, groups.order)
    tokens = 1 if isinstance(module, nn.Conv2d) else x[0].numel() // x.shape[-1]
    flat = x if isinstance(module, nn.Conv2d) else x.reshape(-1, x.shape[-1])
    parts = flat.split([size * tokens for size in groups.sizes])
    delta = torch.cat([_delta(module, one, part) for one, part in zip(factors.unbind(), parts, strict=True)])
    delta = delta if isinstance(module, nn.Conv2d) else delta.reshape(*x.shape[:-1], -1)
    return _onto_rows(y, delta if groups.back is None else delta.index_select(0, groups.back), present)


def _with_equal_groups(factors: Bottleneck, groups: Groups, present: WeightUpdate, x: Tensor, y: Tensor) -> Tensor:
    """Tasks with equally many rows: one batched product for all of them, if a linear layer's."""
    if groups.order is not None:
        x = x.index_select(0, groups.order)
    z = torch.bmm(x.reshape(len(groups.sizes), -1, x.shape[-1]), factors.down.mT)
    if groups.back is None:
        return _add(y, z, factors.up.mT, present)
    delta = torch.bmm(z, factors.up.mT).reshape(*x.shape[:-1], -1)
    return _onto_rows(y, delta.index_select(0, groups.back), present)


def _with_rows(module: nn.Module, rows: Bottleneck, present: WeightUpdate, x: Tensor, y: Tensor) -> Tensor:
    if isinstance(module, nn.Conv2d):
        return _conv_rows(module, rows, x, y)
    flat = x.reshape(len(rows.up), -1, x.shape[-1])
    return _add(y, torch.bmm(flat, rows.down.mT), rows.up.mT, present)


def _one(module: nn.Module, factors: Bottleneck, update: WeightUpdate, x: Tensor, y: Tensor) -> Tensor:
    if isinstance(module, nn.Conv2d):
        return _conv(module, factors, x, y)
    return _add(y, F.linear(x.reshape(-1, x.shape[-1]), factors.down), factors.up.mT, update)


def _add(y: Tensor, z: Tensor, up: Tensor, update: WeightUpdate) -> Tensor:
    """`y + z @ up` in one step; `z` `[*, n, r]` and `up` `[*, r, O]`, where * and n together are the rows of y."""
    if update.view.rows is None and y.dtype == z.dtype:
        add = torch.addmm if z.dim() == 2 else torch.baddbmm
        return add(y.reshape(*z.shape[:-1], y.shape[-1]), z, up).reshape(y.shape)
    return _onto_rows(y, (z @ up).reshape(*y.shape[:-1], -1), update)


def _delta(module: nn.Module, factors: Bottleneck, x: Tensor) -> Tensor:
    if not isinstance(module, nn.Conv2d):
        return x @ factors.down.mT @ factors.up.mT
    z = _down(module, factors, x)
    return torch.einsum("or,brhw->bohw", factors.up, z)


def _conv(module: nn.Conv2d, factors: Bottleneck, x: Tensor, y: Tensor) -> Tensor:
    return _up(y, factors.up.expand(len(y), -1, -1), _down(module, factors, x))


def _down(module: nn.Conv2d, factors: Bottleneck, x: Tensor) -> Tensor:
    rank = factors.rank
    if factors.spatial is None:
        return _like(module, factors.down, rank).forward(x)
    if module.kernel_size == (1, 1):
        return _like(module, factors.down[:, :, None, None] * factors.spatial[:, None], rank).forward(x)
    z = F.conv2d(x, factors.down[:, :, None, None])
    return _like(module, factors.spatial[:, None], rank, groups=rank).forward(z)


def _conv_rows(module: nn.Conv2d, rows: Bottleneck, x: Tensor, y: Tensor) -> Tensor:
    batch, rank = len(x), rows.rank
    if rows.spatial is None:
        z = _weights_per_row(module, rows.down, x)
    else:
        z = torch.bmm(rows.down, x.flatten(2)).reshape(1, batch * rank, *x.shape[2:])
        z = _like(module, rows.spatial.flatten(0, 1)[:, None], batch * rank, groups=batch * rank).forward(z)
        z = z.reshape(batch, rank, *z.shape[2:])
    return _up(y, rows.up, z)


def _weights_per_row(module: nn.Module, weights: Tensor, x: Tensor) -> Tensor:
    """`[B, O, I, *kernel]` weights on a batch: one grouped convolution, or one batched product."""
    if not isinstance(module, nn.Conv2d):
        flat = x.reshape(len(weights), -1, x.shape[-1])
        return torch.bmm(flat, weights.mT).reshape(*x.shape[:-1], -1)
    batch, out = weights.shape[:2]
    wide = x.reshape(1, -1, *x.shape[2:])
    z = _like(module, weights.flatten(0, 1), batch * out, groups=batch * module.groups).forward(wide)
    return z.reshape(batch, out, *z.shape[2:])


def _like(module: nn.Conv2d, weight: Tensor, out: int, groups: int = 1) -> nn.Conv2d:
    """The layer's own geometry (stride, padding, dilation, a subclass's forward) with another weight."""
    inp = weight.shape[1] * groups
    return stand_in(module, {"weight": weight, "bias": None}, groups=groups, in_channels=inp, out_channels=out)


def _up(y: Tensor, up: Tensor, z: Tensor) -> Tensor:
    return torch.baddbmm(y.flatten(2), up.to(z.dtype), z.flatten(2)).reshape(y.shape).to(y.dtype)


def _onto_rows(y: Tensor, delta: Tensor, update: WeightUpdate) -> Tensor:
    delta = delta.to(y.dtype)
    if update.view.rows is None:
        return y + delta
    start, stop = update.view.rows
    return y + F.pad(delta, (start, y.shape[-1] - stop))


def _dtype(module: nn.Module) -> torch.dtype:
    return module.weight.dtype  # type: ignore[return-value]
