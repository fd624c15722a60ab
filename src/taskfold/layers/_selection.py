"""What a forward pass is for. Per thread, so that two requests at once never see each other's."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ..interventions import Execution, Intervention
from ..kinds import LayerKind, Rows, Tensors

if TYPE_CHECKING:
    from ._spread import Spread

Stack = list[tuple[Intervention, dict[str, Tensor]]]
"""What stands at a layer, inside out: interventions and their tensors."""


class Answers(Protocol):
    """Who answers: tasks of a model, or rows of a bank's table."""

    paths: Collection[str]
    """The names of the layers that somebody changes."""

    def stack(self, path: str, kind: LayerKind, now: Selection) -> Stack:
        """What stands at a layer for the one that serves every row."""
        ...

    def stacks(self, path: str, kind: LayerKind, now: Selection) -> Stack | None:
        """The same for several, tensors `[T, …]` by entry; None: they differ in kind, and run one by one."""
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

    def entries(self) -> int:
        """How many there are."""
        ...


Sizes = Mapping[str, Collection[int]]
"""By layer."""


@dataclass(frozen=True)
class Selection:
    """One forward pass.

    Attributes:
        answers: who answers.
        rows: the entry of each row of the batch; None: there is one, which serves every row.
        training: whether the pass trains (a task's own normalisation then uses batch statistics).
        progress: how far the training is, 0 to 1; 1 outside training.
        context: what methods have made of the input before the pass, by task.
        execution: how layers run updates beside them.
        spread: every row is for all of the entries; None: it is for the one that `rows` says.
        sizes: of the first axis that layers see of one row of the batch, as far as they are known.
        noting: layers write these sizes there, and leave tasks alone.
    """

    answers: Answers
    rows: Rows | None
    training: bool
    progress: float = 1.0
    context: Mapping[str, object] = field(default_factory=dict)
    execution: Execution = "auto"
    spread: Spread | None = None
    sizes: Sizes = field(default_factory=dict)
    noting: dict[str, set[int]] | None = None

    def of_one(self, entry: int) -> Selection:
        """For rows that all have one of the entries."""
        return replace(self, answers=self.answers.alone(entry), rows=None, spread=None)

    def of_all(self, each: int) -> Selection:
        """For the rows of all entries, `each` of one after those of another."""
        return replace(self, rows=Rows.side_by_side(self.answers.entries(), each), spread=None)

    def rows_at(self, first: Tensor, layer: str) -> Rows:
        """The rows of a layer whose first input is that; windows or beams of one row keep its entry.

        Raises:
            ValueError: the layer's first axis is not a multiple of the batch.
        """
        rows, size = self.rows, first.shape[0]
        assert rows is not None
        if not torch.compiler.is_compiling():
            batch = rows.size
            if size % batch or size // batch not in self.sizes.get(layer, (size // batch,)):
                raise ValueError(
                    f"layer {layer!r} got {size} rows for a mixed batch of {batch}: its first axis must be the batch "
                    "(or a multiple of it); run such a network one task at a time, or leave the layer out with targets"
                )
        return rows.at(size)


class _Current(threading.local):
    def __init__(self) -> None:
        self.selection: Selection | None = None  # from the start, or a compiler finds it changed after the first pass


_current = _Current()


def current() -> Selection:
    """The selection of the forward pass that runs in this thread.

    Raises:
        RuntimeError: no forward pass of a `MultiTask` is running here.
    """
    if _current.selection is None:
        raise RuntimeError(
            "an adapted layer ran outside MultiTask.forward, so its task is not known; "
            "under gradient checkpointing pass context_fn=taskfold.checkpoint_context"
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
