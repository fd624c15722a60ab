"""BatchNorm that trains, where every row of the batch has its own task: statistics of each task's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ._selection import Groups
from ._stand_in import stand_in
from ._traits import MEAN, VARIANCE

OwnTensors = Sequence[Mapping[str, Tensor]]
"""A module's tensors, of each task."""
_SEEN = "num_batches_tracked"


def trains_by_rows(module: nn.Module, own: OwnTensors) -> bool:
    """Whether tasks can train side by side: each has statistics of its own, and they move at a fixed pace."""
    if not isinstance(module, _BatchNorm) or not module.track_running_stats or module.momentum is None:
        return False
    means = {id(tensors.get(MEAN)) for tensors in own if MEAN in tensors}
    return len(means) == len(own) and all(tensors.keys() == own[0].keys() for tensors in own)


def trained_by_rows(module: nn.Module, own: OwnTensors, groups: Groups, x: Tensor) -> Tensor:
    """The module in training mode, one call for all tasks that have equally many rows.

    Args:
        module: a BatchNorm, of any subclass that goes by channels.
        own: what each task has; running statistics are written.
        groups: the rows of each task.
        x: `[B, C, …]`.
    """
    rows = x if groups.order is None else x.index_select(0, groups.order)
    begins = torch.tensor([0, *groups.sizes]).cumsum(0).tolist()
    places: list[int] = []
    parts = []
    for size in sorted({*groups.sizes}):
        tasks = [n for n, found in enumerate(groups.sizes) if found == size]
        mine = [row for n in tasks for row in range(begins[n], begins[n + 1])]
        places += mine
        part = rows if groups.alike else rows[torch.tensor(mine, device=x.device)]
        parts.append(_side_by_side(module, [own[n] for n in tasks], part))
    y = parts[0]
    if len(parts) > 1:
        y = torch.cat(parts)[torch.tensor(places, device=x.device).argsort()]
    return y if groups.back is None else y.index_select(0, groups.back)


def _side_by_side(module: nn.Module, own: OwnTensors, x: Tensor) -> Tensor:
    """Rows of T tasks, one task after another: the channels of one beside those of the next."""
    tasks, size, shape = len(own), len(x) // len(own), x.shape[1:]
    state = {name: torch.cat([tensors[name] for tensors in own]) for name, like in own[0].items() if like.dim()}
    state[_SEEN] = torch.zeros_like(own[0][_SEEN])
    seen = x.unflatten(0, (tasks, size)).transpose(0, 1).reshape(size, tasks * shape[0], *shape[1:])
    y = stand_in(module, state, training=True).forward(seen)
    for name in (MEAN, VARIANCE):
        torch._foreach_copy_([tensors[name] for tensors in own], list(state[name].chunk(tasks)))
    torch._foreach_add_([tensors[_SEEN] for tensors in own], 1)
    return y.reshape(size, tasks, *shape).transpose(0, 1).reshape(x.shape)
