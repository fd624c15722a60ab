"""The selection of a forward pass: the tasks that it runs for. Per thread: concurrent requests are independent."""

from __future__ import annotations

import threading
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ..interventions import Execution, Intervention
from ..kinds import LayerKind, Rows, Tensors
from ._layout import Layout, Seen
from ._notes import Notes

if TYPE_CHECKING:
    from ._spread import Spread

Stack = list[tuple[Intervention, dict[str, Tensor]]]
"""The interventions at a layer with their tensors, innermost first."""


class Answers(Protocol):
    """The entries that a pass answers for: tasks of a model, or rows of a bank's table."""

    paths: Collection[str]
    """The paths of the layers that an entry adapts."""

    @property
    def around(self) -> frozenset[str]:
        """The paths of modules with an intervention that also affects the layers inside (`Intervention.around`)."""
        ...

    def stack(self, path: str, kind: LayerKind, now: Selection) -> Stack:
        """The stack for the only entry, which serves every row."""
        ...

    def stacks(self, path: str, kind: LayerKind, now: Selection) -> Stack | None:
        """One stack for all entries, tensors `[T, …]`; None: entries differ in kind and run one by one."""
        ...

    def common(self, path: str, kind: LayerKind, now: Selection) -> Stack | None:
        """The stack that all entries have in common, bit for bit; None: they differ."""
        ...

    def each(self, path: str) -> list[Tensors] | None:
        """Each entry's own copies of the layer's tensors, writable; None: an entry does more than copy there."""
        ...

    def draws(self, path: str, kind: LayerKind, now: Selection) -> bool:
        """Whether a part draws other tensors for each row of the batch."""
        ...

    def drawn(self, path: str, kind: LayerKind, now: Selection, index: Tensor) -> Stack:
        """The stack with tensors `[B, …]` drawn for each row; `index` `[B]` is the entry of each row."""
        ...

    def stands_beside(self, path: str) -> bool:
        """Whether all interventions at a layer are `Beside`, and entries do not differ in kind."""
        ...

    def alone(self, entry: int) -> Answers:
        """The answers of one entry."""
        ...

    def written(self) -> list[Tensor]:
        """The tensors that a pass in training mode writes: running statistics and buffers."""
        ...

    def held(self) -> dict[str, Tensor]:
        """The entries' tensors; the names are arbitrary."""
        ...

    def entries(self) -> int:
        """The number of entries."""
        ...

    def who(self, rows: Rows | None) -> Hashable | None:
        """A key of the tasks of a pass's rows; None: they are not known without a device sync."""
        ...


class RowsUnknownError(Exception):
    """The rows of the batch that a layer's tensors belong to are unknown.

    Args:
        layer: the layer's name.
        why: the violated condition, as a sentence that follows the layer's name.
    """

    def __init__(self, layer: str, why: str) -> None:
        super().__init__(f"layer {layer!r} {why}")
        self.layer, self.why = layer, why


@dataclass(frozen=True)
class Selection:
    """The tasks and settings of one forward pass.

    Attributes:
        answers: the entries.
        rows: the entry of each row of the batch; None: one entry serves every row.
        training: the pass is in training mode (a task's own normalisation then uses batch statistics).
        progress: progress of the training, 0 to 1; 1 outside training.
        context: results of `Part.look` on the input.
        execution: how layers run updates beside them.
        spread: a broadcast, every row for all entries; None: each row for the entry in `rows`.
        seen: where the rows lie in each layer's tensors, by path; for mixed batches.
        multiplied: layers may see any number of entries of each row, those of one row side by side (beams, words).
        noting: layers record their tensors here and run without tasks.
        left: attributes that hooks and other layers set on a layer before it runs, by path.
    """

    answers: Answers
    rows: Rows | None
    training: bool
    progress: float = 1.0
    context: Mapping[str, object] = field(default_factory=dict)
    execution: Execution = "auto"
    spread: Spread | None = None
    seen: Mapping[str, Seen] = field(default_factory=dict)
    multiplied: bool = False
    noting: Notes | None = None
    left: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of_one(self, entry: int) -> Selection:
        """The selection for rows of one entry alone."""
        return replace(self, answers=self.answers.alone(entry), rows=None, spread=None)

    def of_all(self, each: int) -> Selection:
        """The selection for `each` rows of every entry, one entry after another."""
        return replace(self, rows=Rows.side_by_side(self.answers.entries(), each), spread=None)

    def rows_at(self, place: Layout, tensor: Tensor, layer: str) -> Rows:
        """The rows of a layer's input.

        Raises:
            RowsUnknownError: as `check_size`.
        """
        rows = self.rows
        assert rows is not None
        self.check_size(place, tensor, layer)
        return rows.copied(place.each, tensor.device) if place.copies else rows.at(tensor.shape[place.axis or 0])

    def check_size(self, place: Layout, tensor: Tensor, layer: str) -> None:
        """Checks a tensor's size along the axis of rows.

        Raises:
            RowsUnknownError: the size differs from the known one.
        """
        assert self.rows is not None
        if torch.compiler.is_compiling() or place.axis is None:
            return
        size = tensor.shape[place.axis] if tensor.dim() > place.axis else 0
        wanted = self.rows.size * place.each
        if size != wanted and not (self.multiplied and not place.copies and size and size % self.rows.size == 0):
            raise RowsUnknownError(
                layer, f"got {size} rows where {wanted} were known for {self.rows.size} of the batch"
            )


class _Current(threading.local):
    def __init__(self) -> None:
        self.selection: Selection | None = None  # set here: a compiler would see a new attribute after the first pass


_current = _Current()


def running() -> Selection | None:
    """The selection of the forward pass in this thread; None: no pass is running."""
    return _current.selection


def current(layer: str = "") -> Selection:
    """The selection of the forward pass in this thread.

    Args:
        layer: the calling layer's name, for the error.

    Raises:
        RuntimeError: no forward pass of a `MultiTask` is running here.
    """
    if _current.selection is None:
        which = f"the adapted layer {layer!r}" if layer else "an adapted layer"
        raise RuntimeError(
            f"{which} ran outside MultiTask.forward, or in a thread of the network's own, so its task is not known; "
            "run layers in the thread that calls the model; under gradient checkpointing pass "
            "context_fn=taskfold.checkpoint_context; networks that recompute their layers by themselves (reversible "
            "ones) are for evaluation alone"
        )
    return _current.selection


class selecting:
    """Context manager that sets the selection of this thread and restores the one before; it is reentrant."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.before: list[Selection | None] = []

    def __enter__(self) -> None:
        self.before.append(_current.selection)
        _current.selection = self.selection

    def __exit__(self, *_: object) -> None:
        _current.selection = self.before.pop()
