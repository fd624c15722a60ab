"""A batch in which every row has its own task: factors, or weights, of each row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..factors import Bottleneck
from ._execute import beside, may_write, reduced, walked
from ._kernel import Geometry
from ._selection import Groups
from ._update import WeightUpdate, bottlenecks, stacked
from ._where import as_update

Updates = Sequence[WeightUpdate | None]
"""Of one view, one for each task; None: that task adds nothing."""


@dataclass(frozen=True)
class Rows:
    """The task of each row of a layer's input: `[B]` index, and its grouping if that pays."""

    index: Tensor
    groups: Groups | None

    @classmethod
    def side_by_side(cls, tasks: int, x: Tensor) -> Rows:
        """Equally many rows of each task, one task after another."""
        each = len(x) // tasks
        return cls(torch.arange(tasks, device=x.device).repeat_interleave(each), Groups((each,) * tasks))


def factors_of(module: nn.Module, updates: Updates, made: Bottleneck | None, rows: Rows) -> Bottleneck | None:
    """Of each task `[T, …]`, or of all alike; of each row where that is drawn. None: there are none."""
    dtype: torch.dtype = module.weight.dtype  # type: ignore[assignment]
    present = next(update for update in updates if update is not None)
    if present.rule.draws_per_row(present.training):
        return present.bottleneck(dtype, _per_row(updates, rows.index))
    return made or bottlenecks(updates, dtype)


def draws_per_row(updates: Updates) -> bool:
    """Whether what a task adds differs from row to row."""
    return any(update is not None and update.rule.draws_per_row(update.training) for update in updates)


def beside_rows(module: nn.Module, factors: Bottleneck, rows: Rows | None, x: Tensor, y: Tensor) -> Tensor:
    """`y = layer(x)` with ΔW x added; `factors` of each task, or of each row if `rows` is None, or of all alike."""
    if factors.up.dim() == 2:
        return beside(module, factors, x, y)
    if rows is None:
        return _with_rows(module, factors, x, y)
    if rows.groups is None:
        return _with_rows(module, factors.rows(rows.index), x, y)
    if rows.groups.alike and isinstance(module, nn.Linear):
        return _with_equal_groups(factors, rows.groups, x, y)
    return _with_groups(module, factors, rows.groups, x, y)


def dense_rows(module: nn.Module, views: Iterable[Updates], index: Tensor, x: Tensor) -> Tensor:
    """The layer with W + ΔW of each row's task, all views of W together."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    whole = None
    for updates in views:
        added = [torch.zeros_like(weight) if u is None else _whole(weight, u) for u in updates]
        whole = (weight if whole is None else whole) + torch.stack(added)
    assert whole is not None
    return biased(module, weights_per_row(module, whole.index_select(0, index), x), module.bias)  # type: ignore[arg-type]


def _whole(weight: Tensor, update: WeightUpdate) -> Tensor:
    return as_update(weight, update.view, update.dense(weight.dtype))


def biased(module: nn.Module, y: Tensor, bias: Tensor | None) -> Tensor:
    """With a layer's bias `[O]`, or one for each row `[B, O]`."""
    if bias is None:
        return y
    ones, lead = [1] * (y.dim() - 2), len(bias) if bias.dim() == 2 else 1
    return y + bias.reshape((lead, -1, *ones) if isinstance(module, nn.Conv2d) else (lead, *ones, y.shape[-1]))


def _per_row(updates: Updates, index: Tensor) -> dict[str, Tensor]:
    alike = [update for update in updates if update is not None]
    if len(alike) != len(updates) or not all(alike[0].like(other) for other in alike):
        raise ValueError(
            "allocation='random' draws for every row and needs all tasks of a batch to be of the same method; "
            "train them with one method, or in batches of their own"
        )
    return {name: own[index] for name, own in stacked(alike).items()}


def _with_groups(module: nn.Module, factors: Bottleneck, groups: Groups, x: Tensor, y: Tensor) -> Tensor:
    """Each task's factors on its own rows: no factor is ever copied for a row."""
    if groups.order is not None:
        x = x.index_select(0, groups.order)
    tokens = 1 if isinstance(module, nn.Conv2d) else x[0].numel() // x.shape[-1]
    flat = x if isinstance(module, nn.Conv2d) else x.reshape(-1, x.shape[-1])
    parts = flat.split([size * tokens for size in groups.sizes])
    delta = torch.cat([_delta(module, one, part) for one, part in zip(factors.unbind(), parts, strict=True)])
    delta = (delta if isinstance(module, nn.Conv2d) else delta.reshape(*x.shape[:-1], -1)).to(y.dtype)
    return y + (delta if groups.back is None else delta.index_select(0, groups.back))


def _with_equal_groups(factors: Bottleneck, groups: Groups, x: Tensor, y: Tensor) -> Tensor:
    """Tasks with equally many rows: one batched product for all of them, if a linear layer's."""
    if groups.order is not None:
        x = x.index_select(0, groups.order)
    z = torch.bmm(x.reshape(len(groups.sizes), -1, x.shape[-1]), factors.down.mT)
    if groups.back is None:
        return _add(y, z, factors.up.mT)
    delta = torch.bmm(z, factors.up.mT).reshape(*x.shape[:-1], -1)
    return y + delta.index_select(0, groups.back).to(y.dtype)


def _with_rows(module: nn.Module, rows: Bottleneck, x: Tensor, y: Tensor) -> Tensor:
    if isinstance(module, nn.Conv2d):
        return _conv_rows(module, rows, x, y)
    flat = x.reshape(rows.up.shape[0], -1, x.shape[-1])
    return _add(y, torch.bmm(flat, rows.down.mT), rows.up.mT)


def _add(y: Tensor, z: Tensor, up: Tensor) -> Tensor:
    """`y + z @ up` in one step; `z` `[*, n, r]` and `up` `[*, r, O]`, where * and n together are the rows of y."""
    return _baddbmm(y.reshape(*z.shape[:-1], y.shape[-1]), z, up).reshape(y.shape)


def _baddbmm(y: Tensor, left: Tensor, right: Tensor) -> Tensor:
    add = Tensor.baddbmm_ if may_write() else torch.baddbmm
    return add(y, left.to(y.dtype), right.to(y.dtype))


def _delta(module: nn.Module, factors: Bottleneck, x: Tensor) -> Tensor:
    if not isinstance(module, nn.Conv2d):
        return x @ factors.down.mT @ factors.up.mT
    return torch.einsum("or,brhw->bohw", factors.up, reduced(module, factors, x))


def _conv_rows(module: nn.Conv2d, rows: Bottleneck, x: Tensor, y: Tensor) -> Tensor:
    batch, rank = x.shape[0], rows.rank
    if rows.spatial is None:
        z = weights_per_row(module, rows.down, x)
    elif module.kernel_size == (1, 1):  # a number for each channel
        z = weights_per_row(module, rows.down[..., None, None] * rows.spatial[:, :, None], x)
    else:
        z = torch.bmm(rows.down, x.flatten(2)).reshape(batch, rank, *x.shape[2:])
        z = _grouped(module, rows.spatial[:, :, None], z, rank)
    return _baddbmm(y.flatten(2), rows.up, z.flatten(2)).reshape(y.shape)


def weights_per_row(module: nn.Module, weights: Tensor, x: Tensor, each: int = 1) -> Tensor:
    """`[B / each, O, I, *kernel]` weights on a batch `[B, …]`: one grouped convolution, or one batched product."""
    if not isinstance(module, nn.Conv2d):
        flat = x.reshape(weights.shape[0], -1, x.shape[-1])
        return torch.bmm(flat, weights.mT).reshape(*x.shape[:-1], -1)
    walk = Geometry.of(module)
    if walk and walk.padding == (0, 0) and module.kernel_size == (1, 1) and module.groups == each == 1:
        seen = walk.seen(x)
        return torch.bmm(weights.flatten(2), seen.flatten(2)).unflatten(2, seen.shape[2:])
    return _grouped(module, weights, x, module.groups, each)


def _grouped(module: nn.Conv2d, weights: Tensor, x: Tensor, groups: int, each: int = 1) -> Tensor:
    """`[B / each, O, I/groups, *kernel]` weights, in the layer's geometry, on the rows of a batch."""
    if torch.compiler.is_exporting():
        return _unfolded(module, weights if each == 1 else weights.repeat_interleave(each, 0), x, groups)
    held, out = weights.shape[:2]
    wide = x.unflatten(0, (-1, each)).transpose(0, 1).flatten(1, 2)
    z = walked(module, wide, weights.flatten(0, 1), groups=held * groups)
    return z.unflatten(1, (-1, out)).transpose(0, 1).flatten(0, 1)


def _unfolded(module: nn.Conv2d, weights: Tensor, x: Tensor, groups: int) -> Tensor:
    """The same as a matrix product: ONNX wants a number of groups that does not hang on the batch.

    The layer itself, with kernels that pick one position each, says what a kernel sees.
    """
    batch, out, kernel, channels = weights.shape[0], weights.shape[1], weights.shape[3:], x.shape[1]
    taps = torch.eye(kernel.numel(), dtype=x.dtype, device=x.device).reshape(-1, 1, *kernel).repeat(channels, 1, 1, 1)
    seen = walked(module, x, taps, groups=channels)
    parts = seen.flatten(2).reshape(batch, groups, -1, seen.shape[2] * seen.shape[3])
    return (weights.reshape(batch, groups, out // groups, -1) @ parts).reshape(batch, out, *seen.shape[2:])
