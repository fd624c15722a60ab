"""BatchNorm: in evaluation a scale and a shift of channels, in training statistics of each task's rows."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence, Set
from functools import cached_property
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ._base import NONE, SEEN, LayerKind, Tensors, scaled_bias
from ._rows import Rows
from ._stand_in import stand_in
from ._tried import apart, attempt, double, once, random

MEAN, VARIANCE = "running_mean", "running_var"
SCALE, SHIFT = "scale", "shift"
"""γ and β that have absorbed the statistics, as a bank holds them."""


class OneValueError(ValueError):
    """BatchNorm would need the statistics of a single value."""


def check_values(x: Tensor, rows: int, layer: str) -> None:
    """Checks that BatchNorm trains on more than one value per channel.

    Args:
        x: the input, channels second.
        rows: number of the task's rows in it.
        layer: the layer's name.

    Raises:
        OneValueError: there is one value.
    """
    if rows * prod(x.shape[2:]) == 1:
        raise OneValueError(
            f"layer {layer!r}: BatchNorm of a task's own trains on two or more values per channel, and one row of "
            f"{list(x.shape[1:])} has one; give the task two or more rows in each batch, or evaluate it: model.eval()"
        )


class BatchNorm(LayerKind):
    """`nn.BatchNorm1d`, `2d`, `3d`, `SyncBatchNorm` and subclasses that normalise channel by channel.

    It trains on batch statistics if the task has its own count of batches (`num_batches_tracked`); otherwise it uses
    the fixed statistics of the backbone or the task.
    """

    words = "BatchNorm"
    normalises = True
    running = SEEN

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        return isinstance(module, _BatchNorm)

    def run(self, args: tuple, kwargs: dict, tensors: Tensors = NONE, training: bool = False) -> Any:
        if SCALE in tensors:
            tensors = {"weight": tensors[SCALE], "bias": tensors[SHIFT]} | _standard(tensors[SCALE])
            training = False
        training = training and SEEN in tensors
        if training and (own := self._own(MEAN)) is not None and tensors[MEAN].dtype != own.dtype:
            # Torch accepts half-precision inputs with single-precision parameters and buffers.
            wide = tensors[MEAN].dtype
            every = {**self.tensors(), **tensors}
            tensors = {name: one.to(wide) if one.is_floating_point() else one for name, one in every.items()}
        return super().run(args, kwargs, tensors, training)

    def check_training(self, args: tuple, kwargs: dict, tensors: Tensors, layer: str) -> None:
        if SEEN in tensors:
            (x,) = (*args, *kwargs.values())
            check_values(x, len(x), layer)

    def goes_by_rows(self, names: Set[str], training: bool) -> bool:
        tracks = self.module.track_running_stats
        return bool(tracks) and not (training and SEEN in names) and self.rowwise

    @cached_property
    def rowwise(self) -> bool:
        """Whether it works channel by channel, so that rows can become channels; a forward of its own is tried."""
        plain = type(self.module).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward)
        return plain or bool(once(self.source, "rowwise", lambda: _goes_by_channels(self)))

    def run_rows(self, args: tuple, kwargs: dict, tensors: Tensors, rows: Rows, training: bool, layer: str) -> Any:
        (x,) = (*args, *kwargs.values())
        module, size = self.module, rows.size
        # Rows become channels of one row.
        mine = rows.all_of_each(tensors)
        if SCALE in mine:
            weight, bias = mine[SCALE].reshape(-1), mine[SHIFT].reshape(-1)
            wide: dict[str, Tensor] = {"weight": weight, "bias": bias, **_standard(weight)}
        else:
            wide = {}
            for name in (MEAN, VARIANCE, "weight", "bias"):
                own = module._buffers.get(name) if name in module._buffers else module._parameters.get(name)
                if own is not None:
                    wide[name] = mine[name].reshape(-1) if name in mine else own.expand(size, -1).reshape(-1)
        beside = x.reshape(1, -1, *x.shape[2:])
        if type(module).forward is _BatchNorm.forward:
            mean, variance, weight, bias = wide.get(MEAN), wide.get(VARIANCE), wide.get("weight"), wide.get("bias")
            y = F.batch_norm(beside, mean, variance, weight, bias, eps=module.eps)  # type: ignore[arg-type]
        else:
            y = stand_in(module, wide, training=False).forward(beside)
        return y.flatten().reshape(x.shape)  # torch misreads the gradient of one row unless it is contiguous

    # Channels of the output, scaled and shifted

    @property
    def outputs(self) -> int | None:
        return self.module.num_features if self.module.affine else None  # type: ignore[return-value]

    axis = 1

    @property
    def within(self) -> bool:
        return bool(self.module.affine)

    def scaled(self, inside: Tensors, scale: Tensor, shift: Tensor | None) -> dict[str, Tensor]:
        if SCALE in inside:
            return {SCALE: inside[SCALE] * scale, SHIFT: scaled_bias(inside[SHIFT], scale, shift)["bias"]}
        return {"weight": inside["weight"] * scale, **scaled_bias(inside["bias"], scale, shift)}

    # Serving

    def served(self, tensors: Tensors) -> dict[str, Tensor]:
        if not self.absorbs:
            return dict(tensors)
        return _absorbed(self.module, self.tensors() | dict(tensors))

    @cached_property
    def absorbs(self) -> bool:
        """Whether weight and bias can absorb its statistics; a forward of its own is tried."""
        return bool(once(self.source, "absorbs", lambda: _absorbs(self.module)))

    # Training

    def trained_rows(self, each: Sequence[Tensors], rows: Rows, x: Tensor, layer: str) -> Tensor | None:
        """Trains tasks with equally many rows in one call, and writes their running statistics.

        None unless each task has its own count of batches, and the momentum is fixed.
        """
        if not self.module.track_running_stats or self.module.momentum is None or not self.rowwise:
            return None
        means = {id(mine[MEAN]) for mine in each if SEEN in mine}
        if len(means) < len(each) or any(mine.keys() != each[0].keys() for mine in each):
            return None
        groups = rows.groups(layer)
        check_values(x, min(groups.sizes), layer)
        tensors = [each[entry] for entry in groups.entries]
        mixed = groups.sorted(x)
        begins = [sum(groups.sizes[:n]) for n in range(len(groups.sizes) + 1)]
        places: list[int] = []
        parts = []
        for size in sorted({*groups.sizes}):
            tasks = [n for n, found in enumerate(groups.sizes) if found == size]
            mine = [row for n in tasks for row in range(begins[n], begins[n + 1])]
            places += mine
            part = mixed if groups.alike else mixed[torch.tensor(mine, device=x.device)]
            parts.append(_side_by_side(self.module, [tensors[n] for n in tasks], part))
        y = parts[0]
        if len(parts) > 1:
            y = torch.cat(parts)[torch.tensor(places, device=x.device).argsort()]
        return groups.unsorted(y)


def _side_by_side(module: nn.Module, own: Sequence[Tensors], x: Tensor) -> Tensor:
    """Runs the rows of T tasks, one task after another, as channels beside each other."""
    tasks, size, shape = len(own), len(x) // len(own), x.shape[1:]
    state = {name: torch.cat([tensors[name] for tensors in own]) for name, like in own[0].items() if like.dim()}
    state[SEEN] = torch.zeros_like(own[0][SEEN])
    seen = x.unflatten(0, (tasks, size)).transpose(0, 1).reshape(size, tasks * shape[0], *shape[1:])
    y = stand_in(module, state, training=True).forward(seen)
    for name in (MEAN, VARIANCE):
        torch._foreach_copy_([tensors[name] for tensors in own], list(state[name].chunk(tasks)))
    torch._foreach_add_([tensors[SEEN] for tensors in own], 1)
    y = y.flatten() if size == 1 else y  # as in `run_rows`
    return y.reshape(size, tasks, *shape).transpose(0, 1).reshape(x.shape)


def _absorbed(module: nn.Module, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """γ and β `[C]` that have absorbed the statistics, for a layer with statistics 0 and 1."""
    kept = whole["weight"].dtype
    whole = {name: tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for name, tensor in whole.items()}
    scale = whole["weight"] * torch.rsqrt(whole[VARIANCE] + module.eps)  # type: ignore[operator]
    shift = whole["bias"] - whole[MEAN] * scale
    return {SCALE: (scale * (1 + module.eps) ** 0.5).to(kept), SHIFT: shift.to(kept)}  # type: ignore[operator]


def _standard(like: Tensor) -> dict[str, Tensor]:
    return {MEAN: torch.zeros_like(like), VARIANCE: torch.ones_like(like)}


@torch.no_grad()
def _goes_by_channels(kind: BatchNorm) -> bool:
    """Whether rows as further channels give the same as each alone; in training, with two rows of each task."""
    module, size = kind.module, kind.module.num_features
    if any(tensor.is_meta for tensor in module._buffers.values() if tensor is not None):
        return False
    normal, ran = random(), False
    each = [{n: normal(*t.shape).square() for n, t in kind.tensors().items() if t.dim()} for _ in range(2)]
    seen = {SEEN: torch.zeros((), dtype=torch.long, device="cpu")} if module._buffers.get(SEEN) is not None else {}
    for kernel in ((3, 3), (3,), (), (2, 2, 2)):
        x = normal(4, size, *kernel)
        x = x * x.new_tensor([1.0, 1e3, 1e-2, 1.0]).reshape(-1, *[1] * (1 + len(kernel)))  # type: ignore[arg-type]
        with apart():
            for training in (False, True):
                twin = copy.copy(kind)
                twin.module = double(module, {}, training)
                parts = []
                try:
                    for rows, own in zip(x.split(2), each, strict=True):
                        parts.append(double(module, {**own, **seen}, training).forward(rows))
                except Exception:
                    break  # it takes inputs of another shape
                ran = True
                try:
                    if training:
                        found = _side_by_side(twin.module, [{**own, **seen} for own in copy.deepcopy(each)], x)
                    else:
                        both = {name: torch.stack([own[name] for own in each]) for name in each[0]}
                        found = twin.run_rows(
                            (x,), {}, both, Rows(4, torch.tensor([0, 0, 1, 1], device="cpu")), False, ""
                        )
                    if not torch.allclose(found, torch.cat(parts), rtol=1e-6, atol=1e-9):
                        return False
                except Exception:
                    return False
    return ran


def _absorbs(module: nn.Module) -> bool:
    if not (module.track_running_stats and module.affine):
        return False
    if type(module).forward is _BatchNorm.forward:
        return True
    if module.weight.device.type == "meta":  # type: ignore[union-attr]
        return False
    normal, size = random(), module.num_features
    own = {name: normal(size) for name in ("weight", "bias", MEAN)}
    own[VARIANCE] = normal(size).square()
    x = normal(2, size, 3, 3)
    try:
        wanted, found = attempt(module, own, x), _absorbed(module, own)
        state = {"weight": found[SCALE], "bias": found[SHIFT]} | _standard(own[MEAN])
        return torch.allclose(wanted, attempt(module, state, x))
    except Exception:
        return False  # it takes inputs of another kind, say
