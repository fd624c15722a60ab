"""What a forward pass is for. Per thread, so that two requests at once never see each other's."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
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
"""What stands at a layer, inside out: interventions and their tensors."""


class Answers(Protocol):
    """Who answers: tasks of a model, or rows of a bank's table."""

    paths: Collection[str]
    """The names of the layers that somebody changes."""

    @property
    def around(self) -> frozenset[str]:
        """Those of them within which others run on what somebody has put before their input."""
        ...

    def stack(self, path: str, kind: LayerKind, now: Selection) -> Stack:
        """What stands at a layer for the one that serves every row."""
        ...

    def stacks(self, path: str, kind: LayerKind, now: Selection) -> Stack | None:
        """The same for several, tensors `[T, …]` by entry; None: they differ in kind, and run one by one."""
        ...

    def common(self, path: str, kind: LayerKind, now: Selection) -> Stack | None:
        """What stands at a layer for all entries, if it is the same for each, to the last number; None: it is not."""
        ...

    def each(self, path: str) -> list[Tensors] | None:
        """The layer's tensors that each entry has instead, to be written to; None: that is not all they do there."""
        ...

    def draws(self, path: str, kind: LayerKind, now: Selection) -> bool:
        """Whether tensors at a layer differ from row to row of the batch."""
        ...

    def drawn(self, path: str, kind: LayerKind, now: Selection, index: Tensor) -> Stack:
        """What stands at a layer for each row, tensors `[B, …]`; `index` `[B]` is the entry of each."""
        ...

    def stands_beside(self, path: str) -> bool:
        """Whether all that entries do at a layer stands beside it, in rows of tensors."""
        ...

    def alone(self, entry: int) -> Answers:
        """One of several."""
        ...

    def written(self) -> list[Tensor]:
        """The tensors that a pass which trains writes to."""
        ...

    def held(self) -> dict[str, Tensor]:
        """Their tensors, by some name."""
        ...

    def entries(self) -> int:
        """How many there are."""
        ...


class RowsUnknownError(Exception):
    """It is not known which rows of the batch a layer's tensors belong to.

    Args:
        layer: its name.
        why: what is not as it must be.
    """

    def __init__(self, layer: str, why: str) -> None:
        super().__init__(f"layer {layer!r} {why}")
        self.layer, self.why = layer, why


@dataclass(frozen=True)
class Selection:
    """One forward pass.

    Attributes:
        answers: who answers.
        rows: the entry of each row of the batch; None: there is one, which serves every row.
        training: whether the pass trains (a task's own normalisation then uses batch statistics).
        progress: how far the training is, 0 to 1; 1 outside training.
        context: what parts of tasks have made of the input before the pass.
        execution: how layers run updates beside them.
        spread: every row is for all of the entries; None: it is for the one that `rows` says.
        seen: by layer, where rows lie in its tensors; for batches in which tasks are mixed.
        multiplied: layers may see more entries of each row than is known, those of one row side by side (beams).
        noting: layers say there what they see, and leave tasks alone.
        left: attributes that hooks and other layers leave on a layer before it runs, by layer.
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
        """For rows that all have one of the entries."""
        return replace(self, answers=self.answers.alone(entry), rows=None, spread=None)

    def of_all(self, each: int) -> Selection:
        """For the rows of all entries, `each` of one after those of another."""
        return replace(self, rows=Rows.side_by_side(self.answers.entries(), each), spread=None)

    def rows_at(self, place: Layout, tensor: Tensor, layer: str) -> Rows:
        """The rows of a layer that is given a tensor.

        Raises:
            RowsUnknownError: there should be another number.
        """
        rows = self.rows
        assert rows is not None
        self.check_size(place, tensor, layer)
        return rows.copied(place.each, tensor.device) if place.copies else rows.at(tensor.shape[place.axis or 0])

    def check_size(self, place: Layout, tensor: Tensor, layer: str) -> None:
        """Whether a tensor has as many entries along the axis of rows as is known.

        Raises:
            RowsUnknownError: it does not.
        """
        assert self.rows is not None
        if torch.compiler.is_compiling() or place.axis is None:
            return
        size = tensor.shape[place.axis] if tensor.dim() > place.axis else 0
        wanted = self.rows.size * place.each
        if size != wanted and not (self.multiplied and not place.copies and wanted and size % wanted == 0):
            raise RowsUnknownError(
                layer, f"got {size} rows where {wanted} were known for {self.rows.size} of the batch"
            )


class _Current(threading.local):
    def __init__(self) -> None:
        self.selection: Selection | None = None  # from the start, or a compiler finds it changed after the first pass


_current = _Current()


def running() -> Selection | None:
    """The selection of the forward pass that runs in this thread, if one does."""
    return _current.selection


def current(layer: str = "") -> Selection:
    """The selection of the forward pass that runs in this thread.

    Args:
        layer: who asks.

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
    """Run a block for that selection; the one before comes back afterwards. May be entered again and again."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.before: list[Selection | None] = []

    def __enter__(self) -> None:
        self.before.append(_current.selection)
        _current.selection = self.selection

    def __exit__(self, *_: object) -> None:
        _current.selection = self.before.pop()
