"""A network of the zoo with two tasks that differ, and its outputs as named tensors of rows."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves, tree_map

import taskfold as tfold
from taskfold.methods import Method
from taskfold.testing._compare import FLOOR, common, distance
from taskfold.testing._subject import STIRS, leaves_of, without_dropout

from .entry import ROWS, Entry

METHODS: dict[str, Method] = {
    "LoRA": tfold.LoRA(rank=2, layers="all", init="normal"),
    "FTN": tfold.FTN(rank=2, init="normal", stem=True),
    "fine-tuning": tfold.FineTuning(),
    "own norm": tfold.HeadNorm(),
}
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-6}
NAMES = ("a", "b")
UNUSED = re.compile(r"never called, to no effect: (.*?);")


class NothingShownError(AssertionError):
    """Two tasks can't be told apart by what the network puts out."""


def awakened(network: nn.Module, entry: Entry) -> nn.Module:
    """The network as one that was trained: no branch is switched off, and statistics are those of data."""
    dice = torch.Generator().manual_seed(0)
    network = without_dropout(network).eval()
    with torch.no_grad():
        for name, p in network.named_parameters():
            if p.is_floating_point() and p.numel() > 1 and p.std() < 1e-5:
                gain = p.dim() < 2 and name.rpartition(".")[2] != "bias"
                level = 0.7 if gain and p.abs().max() < 0.1 else float(p.flatten()[0])
                p.copy_(level + 0.1 * torch.randn(p.shape, generator=dice))
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if norms:
        args, kwargs = entry.batch(9, rows=8)
        before = [module.momentum for module in norms]
        for module in norms:
            module.train()
            module.momentum = 1.0
        with torch.no_grad(), suppress(Exception):
            network(*args, **kwargs)
        for module, momentum in zip(norms, before, strict=True):
            module.momentum = momentum
            for buffer in module.buffers():
                buffer.nan_to_num_(1.0)
    return network.eval()


def tensors_of(output: Any) -> list[Tensor]:
    """All numbers of an output."""
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def flat(output: Any) -> Tensor:
    """What a network puts out, `[B, F]`: the tensors that have a row for each of the batch."""
    if isinstance(output, list) and len(output) == ROWS:  # detectors: a dict for each row
        return torch.stack([torch.cat([leaf.flatten() for leaf in tensors_of(row)]) for row in output])
    found = [leaf.flatten(1) for leaf in tensors_of(output) if leaf.dim() > 1 and len(leaf) == ROWS]
    if not found:
        raise TypeError(f"no rows in the output: {[tuple(leaf.shape) for leaf in tensors_of(output)]}")
    return torch.cat(found, 1)


@dataclass
class Zoo:
    """A method on a network of the zoo, in one type of numbers.

    Attributes:
        entry: the network.
        method: what adapts it.
        network: it, built and awakened.
        dtype: of its numbers.
        features: output → `[B, F]`, which heads stand on; None: tasks have no heads, the output is compared.
        width: F.
        unused: layers that tasks change and no pass calls.
        answers: by the input's seed and the task, what it says by itself.
    """

    entry: Entry
    method: Method
    network: nn.Module
    dtype: torch.dtype
    features: Callable[[Any], Tensor] | None = None
    width: int = 0
    unused: str = ""
    answers: dict[tuple[int, str], Tensor] = field(default_factory=dict)

    @property
    def tolerance(self) -> float:
        return TOLERANCES[self.dtype]

    def given(self, seed: int, *, training: bool = False) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def cast(leaf: Any) -> Any:
            return leaf.to(self.dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

        return tree_map(cast, self.entry.batch(seed, training=training))

    def settle(self) -> None:
        """See what the plain network puts out."""
        args, kwargs = self.given(1)
        with torch.no_grad():
            output = self.network(*args, **kwargs)
        pooled = output if isinstance(output, Tensor) else getattr(output, "pooler_output", None)
        last = getattr(output, "last_hidden_state", None)
        if isinstance(pooled, Tensor) and pooled.dim() == 2 and len(pooled) == ROWS:
            self.features, self.width = (lambda y: y if isinstance(y, Tensor) else y.pooler_output), pooled.shape[1]
        elif isinstance(last, Tensor) and last.dim() == 3 and len(last) == ROWS:
            self.features, self.width = (lambda y: y.last_hidden_state.mean(1)), last.shape[2]

    def model(self) -> tfold.MultiTask:
        """A model with two tasks that differ by twice the floor on every row.

        Raises:
            NothingShownError: they never differ that much.
        """
        model = tfold.MultiTask(
            copy.deepcopy(self.network), self.method, features=self.features, num_features=self.width or None
        ).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", tfold.AdaptationWarning)
            for n, name in enumerate(NAMES):
                model.add_task(name, head=3 + n if self.width else None)
        start = copy.deepcopy(model.state_dict())  # with the versions of its modules, which MNASNet asks for
        apart, most = 0.0, 0.0
        for strength in (0.01, 0.02, *STIRS):
            model.load_state_dict(start)
            stir(model, strength)
            model.train().eval()  # networks that keep what they made of their weights make it anew
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                one, other = common(*(self.said(model, 1, name) for name in NAMES))
            self.unused = next((m[1] for w in said if (m := UNUSED.search(str(w.message)))), self.unused)
            if not (one.isfinite().all() and other.isfinite().all()):
                break
            apart = min(distance(*rows, self.tolerance) for rows in zip(one, other, strict=True))
            most = max(apart, most)
            # Rounding is not to be taken for a fault: numbers that pass through many layers should stay small.
            if 2 * FLOOR <= apart < torch.inf:
                return model
        raise NothingShownError(f"two tasks differ by {most:.3g} tolerances at most")

    def alone(self, model: tfold.MultiTask, seed: int, task: str) -> Tensor:
        """What a task says by itself; it is asked once."""
        if (seed, task) not in self.answers:
            self.answers[seed, task] = self.said(model, seed, task)
        return self.answers[seed, task]

    def said(self, model: Any, seed: int, task: Any, **more: Any) -> Tensor:
        """What a model says of a batch, `[B, F]`."""
        return self.rows(self.ask(model, seed, task=task, **more))

    def ask(self, model: Any, seed: int, **more: Any) -> Any:
        args, kwargs = self.given(seed)
        with torch.no_grad():
            return model(*args, **kwargs, **more)

    def rows(self, output: Any) -> Tensor:
        return output if self.width else flat(output)

    def row(self, output: Any, n: int) -> Tensor:
        """A row of a mixed batch's output."""
        return output[n] if self.width else flat(output)[n]


@torch.no_grad()
def stir(model: tfold.MultiTask, strength: float) -> None:
    """Move the tasks away from their start; heads begin with the same rows, so that layers tell tasks apart."""
    dice = torch.Generator().manual_seed(3)

    def noise(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=dice).to(tensor)

    for name in NAMES:
        for held in leaves_of(model[name]):
            if not held.tensor.is_floating_point():
                continue
            if held.group.trained:
                size = float(held.tensor.std(correction=0).clamp(max=1, min=0.2))
                held.tensor.add_(noise(held.tensor) * strength * size)
            else:  # running statistics
                held.tensor.mul_(1 + 2 * strength * torch.rand((), generator=dice).to(held.tensor))
    heads = [model[name].head for name in NAMES]
    if heads[0] is not None and heads[1] is not None:
        for one, other in zip(heads[0].parameters(), heads[1].parameters(), strict=True):
            one.add_(noise(one) * 0.3)
            mine, theirs = common(one, other)
            theirs.copy_(mine)


def state(module: nn.Module) -> Mapping[str, Tensor]:
    """A copy of all tensors, those that no file holds too."""
    return {name: t.detach().clone() for name, t in (*module.named_parameters(), *module.named_buffers())}
