"""The base of interventions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from ..factors import zero_pad
from ..kinds import LayerKind, Rows, Tensors
from ._forms import Form

Shapes = Mapping[str, tuple[int, ...]]


class Call(Protocol):
    """A layer, or a layer with interventions."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


@dataclass(frozen=True)
class Layer:
    """A layer that runs with a task's tensors in place of its own.

    Attributes:
        kind: the layer's kind.
        path: the layer's name.
        tensors: by name; empty: the layer's own.
        training: whether the pass is in training mode.
        form: of an update beside it; None: the cheapest form.
        rows: the entry of each row, for tensors `[T, …]`; None: the tensors serve every row.
        bare: the backbone's layer, without tasks inside it; None: the layer is in no network.
    """

    kind: LayerKind
    path: str
    tensors: Tensors = field(default_factory=dict)
    training: bool = False
    form: Form | None = None
    rows: Rows | None = None
    bare: Call | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.tensors:
            return self.kind.plain(*args, **kwargs)
        if self.rows is not None:
            return self.kind.run_rows(args, kwargs, self.tensors, self.rows, self.training, self.path)
        if self.training:
            self.kind.check_training(args, kwargs, self.tensors, self.path)
        return self.kind.run(args, kwargs, self.tensors, self.training)


@dataclass(frozen=True)
class Intervention(ABC):
    """The effect of tensors at a layer. Stateless; a task has one or several at a layer, one inside another."""

    name: ClassVar[str]
    depth: ClassVar[int]
    """The order of interventions at a layer: smaller is further inside."""
    around: ClassVar[bool] = False
    """Whether it also changes the inputs of layers inside: a broadcast must separate tasks before it, not in it."""

    @abstractmethod
    def run(self, tensors: Tensors, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        """The layer's output for a task.

        Args:
            tensors: the task's, by name.
            call: the layer, or the next intervention inside.
            layer: the layer itself.
            args, kwargs: the layer's arguments.
        """

    def bound(self, tensors: Tensors, call: Call, layer: Layer) -> Call:
        """The call for the next intervention outside."""
        return lambda *args, **kwargs: self.run(tensors, call, layer, args, kwargs)

    def goes_by_rows(self, kind: LayerKind, names: Set[str], training: bool) -> bool:
        """Whether `rows` runs a mixed batch; otherwise each task's rows run in a call of their own."""
        return False

    def rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        """The output of a mixed batch, with tensors `[T, …]` by entry."""
        raise NotImplementedError(f"{self.name} runs the rows of each task by themselves")

    def bound_rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer) -> Call:
        """The call for the next intervention outside, for a mixed batch."""
        return lambda *args, **kwargs: self.rows(tensors, rows, call, layer, args, kwargs)

    def joined(self, kind: LayerKind, inner: Tensors, outer: Tensors) -> dict[str, Tensor] | None:
        """The tensors of two such interventions, one directly inside the other, as one; None: they can't be joined."""
        return None

    @abstractmethod
    def neutral(self, kind: LayerKind, shapes: Shapes) -> dict[str, Tensor] | None:
        """Tensors without effect; None: none exist, and tasks with and without the intervention can't be stacked."""

    def widened(self, mine: Shapes, other: Shapes) -> Shapes | None:
        """Shapes that hold both tasks' tensors, smaller ones padded with zeros; None: there are none."""
        names = {**mine, **other}
        return None if any(mine.get(n, names[n]) != other.get(n, names[n]) for n in names) else names

    def packed(self, name: str) -> bool:
        """Whether a tensor of that name holds packed bits: bytes, not numbers."""
        return False

    @abstractmethod
    def fits(self, kind: LayerKind, tensors: Tensors) -> bool:
        """Whether tensors fit the layer's sizes."""

    def served(self, kind: LayerKind, tensors: Tensors) -> dict[str, Tensor]:
        """The fewest tensors with the same effect in evaluation, which a bank holds."""
        return dict(tensors)

    def folds(self, kind: LayerKind) -> bool:
        """Whether a plain layer can have the same effect, with the tensors of `folded`."""
        return True

    def instead(self, kind: LayerKind, tensors: Tensors) -> str | None:
        """The child that replaces the layer in a fold, "" for an identity; None: the layer stays."""
        return None

    @abstractmethod
    def folded(self, kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
        """The layer's tensors that the intervention changes, with it folded in, by name.

        Args:
            kind: the layer.
            tensors: the task's.
            inside: the layer's tensors, with the interventions inside folded in.

        Raises:
            ValueError: no plain layer has the same effect.
        """


def stacked(intervention: Intervention, kind: LayerKind, each: Sequence[Tensors | None]) -> dict[str, Tensor] | None:
    """The tensors of several tasks, stacked along a first axis and padded; None: they can't be stacked.

    `each` holds one task's tensors per item, or None for a task that leaves the layer alone.
    """
    shapes: Shapes = {}
    for mine in each:
        if mine is not None:
            found = {name: tuple(tensor.shape) for name, tensor in mine.items()}
            widened = intervention.widened(shapes, found) if shapes else found
            if widened is None:
                return None
            shapes = widened
    neutral: dict[str, Tensor] | None = None
    columns: dict[str, list[Tensor]] = {name: [] for name in shapes}
    for mine in each:
        if mine is None or len(mine) < len(shapes):
            neutral = intervention.neutral(kind, shapes) if neutral is None else neutral
            if neutral is None:
                return None
            mine = {**neutral, **(mine or {})}
        for name, column in columns.items():
            column.append(padded(mine[name], shapes[name]))
    return {name: torch.stack(column) for name, column in columns.items()}


def padded(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A tensor padded with zeros at the end of each axis."""
    if tensor.shape != shape:
        for axis, size in enumerate(shape):
            tensor = zero_pad(tensor, axis, size)
    return tensor
