"""What a task's tensors do at a layer."""

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
    """A layer, or a layer with what other interventions do there."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


@dataclass(frozen=True)
class Layer:
    """A layer that runs with a task's tensors in place of its own.

    Attributes:
        kind: what it is.
        path: its name.
        tensors: by name; empty: the layer as it is.
        training: whether the pass trains.
        form: how an update beside it runs; None: the cheapest way.
        rows: tensors are `[T, …]`, and each row has the entry that it says; None: they serve every row.
        bare: the layer as the backbone has it, whatever tasks do inside it; None: it stands in no network.
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
    """What tensors do at a layer. Stateless; a task has one or several at a layer, one inside another."""

    name: ClassVar[str]
    depth: ClassVar[int]
    """Where it stands among others at a layer: smaller is further inside."""
    around: ClassVar[bool] = False
    """Whether what it changes runs on through layers inside: tasks on one batch part before it, not in it."""

    @abstractmethod
    def run(self, tensors: Tensors, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        """The layer's output for a task.

        Args:
            tensors: the task's, by name.
            call: what stands inside: the layer, or another intervention around it.
            layer: the layer itself.
            args, kwargs: the layer's arguments.
        """

    def bound(self, tensors: Tensors, call: Call, layer: Layer) -> Call:
        """What stands inside the next one."""
        return lambda *args, **kwargs: self.run(tensors, call, layer, args, kwargs)

    def goes_by_rows(self, kind: LayerKind, names: Set[str], training: bool) -> bool:
        """Whether `rows` runs a whole batch; otherwise the rows of each task run by themselves."""
        return False

    def rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        """The output of a batch whose rows have tensors of their own, `[T, …]` by entry."""
        raise NotImplementedError(f"{self.name} runs the rows of each task by themselves")

    def bound_rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer) -> Call:
        """What stands inside the next one, for such a batch."""
        return lambda *args, **kwargs: self.rows(tensors, rows, call, layer, args, kwargs)

    def joined(self, kind: LayerKind, inner: Tensors, outer: Tensors) -> dict[str, Tensor] | None:
        """Two of this kind, one directly inside the other, as one; None: they stay two."""
        return None

    @abstractmethod
    def neutral(self, kind: LayerKind, shapes: Shapes) -> dict[str, Tensor] | None:
        """Tensors of a task that leaves the layer alone; None: there are none, and tasks that have others run apart."""

    def widened(self, mine: Shapes, other: Shapes) -> Shapes | None:
        """Shapes that hold both: what there is, and what another task brings; smaller tensors are padded with zeros.

        None: nothing holds both.
        """
        names = {**mine, **other}
        return None if any(mine.get(n, names[n]) != other.get(n, names[n]) for n in names) else names

    def packed(self, name: str) -> bool:
        """Whether a tensor of that name holds packed bits, bytes and not numbers."""
        return False

    @abstractmethod
    def fits(self, kind: LayerKind, tensors: Tensors) -> bool:
        """Whether tensors are of this layer's sizes."""

    def served(self, kind: LayerKind, tensors: Tensors) -> dict[str, Tensor]:
        """The fewest tensors that say the same in evaluation: what a bank holds."""
        return dict(tensors)

    def folds(self, kind: LayerKind) -> bool:
        """Whether a plain layer does the same, so that `folded` gives its tensors."""
        return True

    def instead(self, kind: LayerKind, tensors: Tensors) -> str | None:
        """The child that runs in the layer's place when it is folded, "" for nothing; None: the layer stays."""
        return None

    @abstractmethod
    def folded(self, kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
        """The layer's own tensors with this one folded in, by name; those it leaves alone are not listed.

        Args:
            kind: the layer.
            tensors: the task's.
            inside: the layer's tensors, with what stands inside folded in.

        Raises:
            ValueError: no plain layer does the same.
        """


def stacked(intervention: Intervention, kind: LayerKind, each: Sequence[Tensors | None]) -> dict[str, Tensor] | None:
    """The tensors of several tasks along a first axis, smaller ones padded; None: they can't stand together.

    Args:
        intervention: what they do.
        kind: the layer.
        each: of each task; None: it leaves the layer alone.
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
    """A tensor with zeros appended along each axis, to that shape."""
    if tensor.shape != shape:
        for axis, size in enumerate(shape):
            tensor = zero_pad(tensor, axis, size)
    return tensor
