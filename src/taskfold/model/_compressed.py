"""Compression of tasks: one basis for each layer, and a small matrix for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from ..kinds import WeightKind, kind_of
from ..layers import Copied, layers_of, updates_of
from ..methods import LoRA
from ..peft import AdapterError, low_rank_of
from ..routing import CORE
from ..tasks import Task
from ._folding import changed_tensors

TURNS = 10
"""Iterations: each finds one side of a basis, given the other."""
Thin = tuple[Tensor, Tensor]
"""`[O, r]` and `[r, N]`: their product is an update."""


@dataclass(frozen=True)
class Compressed:
    """Tasks on a common basis.

    Attributes:
        method: the tasks' method.
        bases: by layer, `up` `[O, k]` and `down` `[k, I, *kernel]`.
        tensors: by task, its own tensors as `fill` takes them; cores are `[k, k]`.
        errors: by task, ‖ΔW − UΣV‖ / ‖ΔW‖ over all layers, 0 to 1; 0 if the task changes no layer.
    """

    method: LoRA
    bases: dict[str, Thin]
    tensors: dict[str, dict[str, Tensor]]
    errors: dict[str, float]


@torch.no_grad()
def compressed(network: nn.Module, tasks: Sequence[Task], rank: int) -> Compressed:
    """Finds the bases.

    Raises:
        ValueError: no task changes a layer, or one changes more of a layer than its weight; names it.
    """
    thin: dict[str, dict[str, Thin]] = {}
    shapes: dict[str, torch.Size] = {}
    own: dict[str, dict[str, Tensor]] = {}
    for task in tasks:
        updates, own[task.name] = _updates(network, task)
        for path, (left, right) in updates.items():
            shapes[path] = right.shape[1:]
            thin.setdefault(path, {})[task.name] = left.double(), right.flatten(1).double()
    if not thin:
        raise ValueError(
            f"tasks {', '.join(task.name for task in tasks)} change no layer: there is nothing to compress"
        )
    every = tuple(dict.fromkeys(name for tensors in own.values() for name in tensors))
    state = network.state_dict()
    tensors = {name: {key: mine[key] if key in mine else state[key] for key in every} for name, mine in own.items()}
    bases: dict[str, Thin] = {}
    lost, whole = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, 0.0)
    for path, each in thin.items():
        up, down = basis([*each.values()], rank)
        bases[path] = up, down.reshape(-1, *shapes[path])
        for name, mine in tensors.items():
            left, right = each.get(name, (up[:, :0], down[:0]))
            mine[f"{path}:{CORE}" if path else CORE] = core = (up.T @ left) @ (right @ down.T)
            size = _size((left, right)) ** 2
            whole[name] += size
            lost[name] += max(size - float(core.square().sum()), 0.0)
    method = LoRA(
        rank={path: up.shape[1] for path, (up, _) in bases.items()},
        layers="any",
        targets=tuple(bases),
        own=every or None,
        sharing="core",
    )
    errors = {name: sqrt(lost[name] / whole[name]) if whole[name] else 0.0 for name in tensors}
    return Compressed(method, bases, tensors, errors)


def _updates(network: nn.Module, task: Task) -> tuple[dict[str, Thin], dict[str, Tensor]]:
    """A task's updates of weights, `[O, r]` and `[r, I, *kernel]` by layer, and its own tensors by name.

    Raises:
        ValueError: the task changes something else than a weight at a layer; names the layer.
    """
    with suppress(AdapterError):
        low, own = low_rank_of(task, network, anywhere=True)  # cheaper than an SVD of the weights
        if all(one.magnitude is None for one in low.values()):
            plain = {path: one.times(1.0) for path, one in low.items()}
            return {path: (one.up, one.down) for path, one in plain.items()}, own
    try:
        changed = changed_tensors(network, task)
    except ValueError as error:
        raise ValueError(f"task {task.name!r}, {error}") from None
    updates: dict[str, Thin] = {}
    for path, parts in layers_of(task):
        if all(isinstance(part, Copied) for _, part in parts):
            continue
        kind, prefix = kind_of(network.get_submodule(path)), f"{path}." if path else ""
        copied = {prefix + name for _, part in parts if isinstance(part, Copied) for name in part.held()}
        weight = f"{prefix}weight"
        if weight in copied:  # the task has it whole, its update included
            continue
        moved = {prefix + name for name in kind.tensors()} & changed.keys() - copied
        if not isinstance(kind, WeightKind) or moved != {weight}:
            raise ValueError(
                f"task {task.name!r}, layer {path!r}: a basis holds changes of a layer's weight alone, and the task "
                f"changes {', '.join(sorted(moved)) or kind.words}"
            )
        dense = kind.seen(changed.pop(weight) - kind.tensors()["weight"])
        left, sizes, right = torch.linalg.svd(dense.flatten(1).double(), full_matrices=False)
        count = max(1, int((sizes > 1e-7 * sizes[0]).sum()))
        updates[path] = left[:, :count] * sizes[:count], right[:count].reshape(-1, *dense.shape[1:])
    return updates, changed


def basis(updates: Sequence[Thin], rank: int) -> Thin:
    """Orthonormal `[O, k]` and `[k, N]` that best approximate all updates, each normalised to size 1.

    Brüel-Gabrielsson et al., "Compress then Serve" (2024), section 4.1: alternating updates of the two sides, whose
    error never grows. k is `rank`, or less if the updates need less; a narrower side has zeros in its last places.
    """
    scaled = [(left / size, right) for left, right in updates if (size := _size((left, right)))]
    scaled = scaled or [updates[0]]  # all of them are zero
    count = min(rank, sum(left.shape[1] for left, _ in scaled))
    turned = [(left @ torch.linalg.qr(right.T).R.T) for left, right in scaled]
    up = _first(torch.cat(turned, 1), count)
    down = up.new_zeros(0, scaled[0][1].shape[1])
    for _ in range(TURNS):
        down = _first(torch.cat([right.T @ (left.T @ up) for left, right in scaled], 1), count).T
        up = _first(torch.cat([left @ (right @ down.T) for left, right in scaled], 1), count)
    wide = max(up.shape[1], len(down))
    return nn.functional.pad(up, (0, wide - up.shape[1])), nn.functional.pad(down, (0, 0, 0, wide - len(down)))


def _first(matrix: Tensor, count: int) -> Tensor:
    """The first left singular vectors, `[n, count]`."""
    return torch.linalg.svd(matrix, full_matrices=False).U[:, :count]


def _size(update: Thin) -> float:
    """Frobenius norm of the product."""
    left, right = update
    return sqrt(max(float(((left.T @ left) * (right @ right.T)).sum()), 0.0))


def fill_bases(task: Task, bases: Mapping[str, Thin]) -> None:
    """Copies the bases into the inventory of a task with the method."""
    for path, update in updates_of(task).items():
        assert update.bank is not None
        for leaf, numbers in zip(("up", "down"), bases[path], strict=True):
            update.bank[leaf].data.copy_(numbers)
