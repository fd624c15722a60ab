"""The subject of laws: a method on a network, with tasks that differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..factors import Bits, Group, Storage
from ..layers import Ruled, parts_of
from ..methods import Method
from ..model import MultiTask
from ..tasks import Leaves, Task
from ._compare import FLOOR, TOLERANCE, common, distance

HEADS = {"a": 3, "b": 4}
"""The numbers of outputs of the two tasks."""
STIRS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""Distances by which tasks are moved from their start, until they differ enough."""


def images(rows: int) -> Tensor:
    """Images `[rows, 3, 32, 32]` with fixed numbers."""
    return torch.randn(rows, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@dataclass(frozen=True)
class Subject:
    """A method on a network.

    Attributes:
        method: the method.
        network: the network's name.
        build: makes the network.
        inputs: rows → a batch.
        num_features: as for `MultiTask`.
    """

    method: Method
    network: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor] = images
    num_features: int | None = None
    _asked: list[MultiTask] = field(default_factory=list, compare=False, repr=False)

    def asked(self) -> MultiTask:
        """A model with tasks `a` and `b`, stirred, shared by all laws that do not change it."""
        if not self._asked:
            self._asked.append(self.stirred("a", "b"))
        return self._asked[0]

    def model(self, *names: str) -> MultiTask:
        """A model in evaluation mode, without dropout, with new tasks of these names."""
        model = MultiTask(without_dropout(self.build()), self.method, num_features=self.num_features).eval()
        for name in names:
            model.add_task(name, head=HEADS[name])
        return model

    def stirred(self, *names: str) -> MultiTask:
        """A model with tasks away from their start, which differ by `FLOOR` tolerances on every row.

        If tasks have private leaves in the layers, their heads begin with the same rows: then only
        the layers make them differ.

        Raises:
            AssertionError: they never differ that much.
        """
        model, x = self.model(*names), self.inputs(7)
        apart, start = 0.0, {key: value.clone() for key, value in model.state_dict().items()}
        for strength in STIRS:
            model.load_state_dict(start)
            self._stir(model, names, strength)
            if len(names) < 2:
                return model
            with torch.no_grad():
                one, other = common(*(model(x, task=name) for name in names))
            apart = min(distance(*rows, TOLERANCE) for rows in zip(one, other, strict=True))
            if 2 * FLOOR <= apart < torch.inf:
                return model
        raise AssertionError(
            f"tasks {names} differ by {apart:.3g} tolerances of {TOLERANCE:g} on some row of the input, and by fewer "
            f"than {2 * FLOOR} the laws show nothing: the method hardly changes what the network puts out"
        )

    @torch.no_grad()
    def _stir(self, model: MultiTask, names: tuple[str, ...], strength: float) -> None:
        torch.manual_seed(3)
        moved: set[int] = set()
        alike = all(any(leaf.own for leaf in leaves_of(model[name])) for name in names)
        for name in names:
            task = model[name]
            for leaf in leaves_of(task):
                tensor = leaf.tensor
                if id(tensor) in moved or not tensor.is_floating_point():
                    continue
                moved.add(id(tensor))
                if not leaf.group.trained:
                    tensor.mul_(1 + strength * (2 if leaf.own else 1) * torch.rand(()).to(tensor))
                    tensor.add_(strength * ("var" in leaf.where))
                elif isinstance(leaf.stored, Bits):
                    # Scores begin near their threshold: few may cross it, or the network's output becomes 0.
                    tensor.add_(torch.randn_like(tensor) * 0.06 * strength)
                elif leaf.own:
                    # Logits have little effect until they are far apart.
                    tensor.add_(torch.randn_like(tensor) * (2.0 if leaf.group.name == "routing" else strength))
                else:
                    size = float(tensor.std(correction=0).clamp(max=1, min=0.2))
                    tensor.add_(torch.randn_like(tensor) * strength * size)
            for parameter in () if task.head is None else task.head.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        if alike:
            first, *rest = (model[name].head for name in names)
            for head in rest:
                for one, other in zip(first.parameters(), head.parameters(), strict=True):  # type: ignore[union-attr]
                    mine, theirs = common(one, other)
                    theirs.copy_(mine)


@dataclass(frozen=True)
class Held:
    """A leaf of a task.

    Attributes:
        where: the layer, the part and the leaf.
        tensor: the leaf.
        group: its group.
        own: whether only this task has it.
        stored: its storage in a file; None: by value.
        passes: whether it goes into the inventory after training.
    """

    where: str
    tensor: Tensor
    group: Group
    own: bool
    stored: Storage | None
    passes: bool = False


def leaves_of(task: Task) -> Iterator[Held]:
    """All leaves of all parts of a task, with the inventory's; tied ones once."""
    seen: set[int] = set()
    for (path, name), part in parts_of(task):
        several: list[tuple[Leaves, bool]] = [(part.own, True)]
        if part.inventory is not None:
            several.append((part.inventory[1], False))
        if isinstance(part, Ruled) and part.forked is not None:
            several.append((part.forked, True))
        for leaves, own in several:
            for key, tensor in leaves.items():
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    how = leaves.stored.get(key) if own else None
                    where, passes = f"layer {path!r}, part {name!r}, leaf {key!r}", own and key in part.passing
                    yield Held(where, tensor, leaves.groups[key], own, how, passes)


def without_dropout(network: nn.Module) -> nn.Module:
    """The network with dropout off, so that training passes draw no random numbers."""
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name in ("dropout", "drop_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return network


def floating(x: Tensor) -> Tensor:
    """An input in double precision; integers stay."""
    return x.double() if x.is_floating_point() else x


def learning_steps(model: MultiTask, name: str, x: Tensor, steps: int = 3) -> None:
    """Train everything that a task uses and that requires gradients by steps of Adam, without weight decay."""
    model.train()
    task = model[name]
    parameters = {id(held.tensor): held.tensor for held in leaves_of(task) if held.tensor.requires_grad}
    parameters |= {id(p): p for p in task.parameters() if p.requires_grad}
    optimizer = torch.optim.Adam(parameters.values(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x, task=name).square().mean().backward()
        optimizer.step()
    model.eval()
