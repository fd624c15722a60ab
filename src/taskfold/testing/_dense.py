"""The leaves of a task to which the network is indifferent, by the gradient through dense tensors."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..factors import STATISTICS
from ..kinds import kind_of
from ..layers import SERVING, layers_of, parts_of, stack_of
from ..model import MultiTask, changed_tensors, folded
from ._subject import leaves_of

NONE = 1e-12
"""Smaller gradients are rounding, in double precision."""


class Indifference:
    """The leaves to which a network is indifferent in training.

    The task is folded into a plain network, which runs by itself; the gradient of each of its dense tensors is
    propagated to the leaves of that tensor. So neither how layers run a task's tensors nor whether the task requires
    gradients matters. If the method can't be folded, the gradient comes through the layers, with all leaves unfrozen.

    Args:
        model: in double precision, without dropout; it does not change.
        name: the task.
        x: the input.
    """

    def __init__(self, model: MultiTask, name: str, x: Tensor) -> None:
        twin = copy.deepcopy(model).eval()
        self.leaves: dict[str, Tensor] = {}
        task = twin[name]
        for held in leaves_of(task):
            if held.tensor.is_floating_point() and held.group != STATISTICS:
                self.leaves[held.where] = held.tensor.requires_grad_(True)
        try:
            dense = changed_tensors(twin.backbone, task)
        except ValueError:
            tensors = [t for parts in _parts(twin, name).values() for t in parts]
            self.made, self.gradients = tensors, None
            output = twin.train()(x, task=name).square().mean()
            self.direct = torch.autograd.grad(output, list(self.leaves.values()), allow_unused=True)
            return
        leaf_of = {key: tensor.detach().clone() for key, tensor in dense.items()}
        plain = folded(twin.backbone, leaf_of, {})
        wanted = {key: tensor.requires_grad_(True) for key, tensor in leaf_of.items() if dense[key].requires_grad}
        _as_it_trains(plain, twin, name)
        features = twin.features(functional_call(plain, leaf_of, (x,)))
        loss = (features if task.head is None else task.head(features)).square().mean()
        gradients = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
        self.made = [dense[key] for key in wanted]
        self.gradients = [torch.zeros_like(t) if g is None else g for t, g in zip(self.made, gradients, strict=True)]

    def __call__(self, where: str) -> bool:
        """Whether a tensor depends on the leaf, and the network is indifferent to these tensors' changes by it."""
        leaf = self.leaves.get(where)
        if leaf is None:
            return False
        random = [torch.randn_like(tensor) for tensor in self.made]
        if _through(self.made, random, leaf) == 0:
            return False  # no tensor depends on it: a silent no-op
        if self.gradients is None:
            at = list(self.leaves).index(where)
            found = self.direct[at]
            return found is None or float(found.abs().max()) < NONE
        return _through(self.made, self.gradients, leaf) < NONE


def _through(made: list[Tensor], gradients: list[Tensor], leaf: Tensor) -> float:
    found = torch.autograd.grad(made, leaf, gradients, retain_graph=True, allow_unused=True)[0]
    return 0.0 if found is None else float(found.abs().max())


def _parts(model: MultiTask, name: str) -> dict[str, list[Tensor]]:
    """All tensors of a task with gradients, by layer."""
    found: dict[str, list[Tensor]] = {}
    for path, parts in layers_of(model[name]):
        stack = stack_of(parts, kind_of(model.backbone.get_submodule(path)), SERVING)
        found[path] = [tensor for _, tensors in stack for tensor in tensors.values() if tensor.requires_grad]
    return found


def _as_it_trains(plain: nn.Module, model: MultiTask, name: str) -> None:
    """The network in training mode; normalisation uses batch statistics where the task has running ones."""
    plain.train()
    counting = {
        path
        for (path, _), part in parts_of(model[name])
        for leaves in (part.own, *(() if part.inventory is None else (part.inventory[1],)))
        if STATISTICS in leaves.groups.values()
    }
    for path, module in plain.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(path in counting)
