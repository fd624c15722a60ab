"""Which tasks a forward pass is for. Per thread, so that two requests at once never see each other's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..factors import Bottleneck
from ._forms import Execution

if TYPE_CHECKING:
    from ..tasks import Task
    from ._sites import Site
    from ._spread import Spread


@dataclass(frozen=True)
class Groups:
    """The rows of a batch, task by task.

    Attributes:
        sizes: rows of each task.
        order: `[B]`, the rows sorted by task; None: they are already.
        back: `[B]`, undoes `order`.
    """

    sizes: tuple[int, ...]
    order: Tensor | None = None
    back: Tensor | None = None

    @property
    def pays(self) -> bool:
        """Whether to bring the rows of each task together: there are two or more of each, on average."""
        return sum(self.sizes) >= 2 * len(self.sizes)

    @property
    def alike(self) -> bool:
        """Equally many rows of each task."""
        return len(set(self.sizes)) == 1

    @classmethod
    def of(cls, rows: list[int], tasks: int, device: torch.device) -> Groups:
        """From the task of each row."""
        sizes = tuple(rows.count(n) for n in range(tasks))
        order = sorted(range(len(rows)), key=rows.__getitem__)
        if order == list(range(len(rows))):
            return cls(sizes)
        sorting = torch.tensor(order, device=device)
        return cls(sizes, sorting, sorting.argsort())

    def scaled(self, factor: int) -> Groups:
        """For layers that see each row as `factor` consecutive ones (windows, beams)."""
        if factor == 1:
            return self
        sizes = tuple(size * factor for size in self.sizes)
        if self.order is None:
            return Groups(sizes)
        order = (self.order[:, None] * factor + torch.arange(factor, device=self.order.device)).flatten()
        return Groups(sizes, order, order.argsort())


Sizes = Mapping[str, Collection[int]]
"""By layer."""


@dataclass(frozen=True)
class Selection:
    """The tasks of one forward pass.

    Attributes:
        tasks: the distinct tasks.
        rows: `[B]` index into `tasks`, one per row of the batch; None: the single task serves every row.
        training: whether the pass trains (a task's own normalisation then uses batch statistics).
        groups: how to bring the rows of each task together; None: the single task serves every row.
        made: bottlenecks that were made ahead, by layer and name of the update there.
        execution: how layers run their updates.
        banked: how layers run a batch whose rows come from a bank, by path; None: they do not, and `tasks` says how.
        spread: every row is for all of the tasks; None: it is for the one that `rows` says.
        sizes: of the first axis that layers see of one row of the batch, as far as they are known.
        noting: layers write these sizes there, and leave tasks alone.
    """

    tasks: tuple[Task, ...]
    rows: Tensor | None
    training: bool
    groups: Groups | None = None
    made: Mapping[tuple[str, str], Bottleneck] = field(default_factory=dict)
    execution: Execution = "auto"
    banked: Mapping[str, Callable[[Site, Tensor], Tensor]] | None = None
    spread: Spread | None = None
    sizes: Sizes = field(default_factory=dict)
    noting: dict[str, set[int]] | None = None

    def of_one(self, task: Task) -> Selection:
        """For rows that all have one of the tasks."""
        return Selection((task,), None, self.training, execution=self.execution)

    def of_all(self, rows: int, device: torch.device) -> Selection:
        """For the rows of all tasks, `[T · rows]`, one task after another."""
        index = torch.arange(len(self.tasks), device=device).repeat_interleave(rows)
        return replace(self, rows=index, groups=Groups((rows,) * len(self.tasks)), spread=None)

    def size(self, x: Tensor) -> int:
        """Rows of the batch, at a layer whose input is `x`."""
        return len(x) if self.rows is None else len(self.rows)

    def groups_at(self, x: Tensor) -> Groups | None:
        """The groups of rows at a layer whose input is `x`."""
        return self.groups and self.groups.scaled(len(x) // self.size(x))

    def row_index(self, x: Tensor, layer: str) -> Tensor:
        """The task of each row of a layer's input `x`; windows or beams of one row keep its task.

        Raises:
            ValueError: the layer's first axis is not a multiple of the batch.
        """
        if self.rows is None:
            return torch.zeros(len(x), dtype=torch.long, device=x.device)
        self.check_rows(x, layer)
        size, batch = len(x), len(self.rows)
        return self.rows if size == batch else self.rows.repeat_interleave(size // batch)

    def check_rows(self, x: Tensor, layer: str) -> None:
        """Whether a layer sees the rows of a mixed batch, or equally many windows or beams of each.

        Raises:
            ValueError: the first axis of its input is something else.
        """
        if self.rows is None or torch.compiler.is_compiling():
            return
        size, batch = len(x), len(self.rows)
        if size % batch or size // batch not in self.sizes.get(layer, {size // batch}):
            raise ValueError(
                f"layer {layer!r} got {size} rows for a mixed batch of {batch}: its first axis must be the batch "
                "(or a multiple of it); run such a network one task at a time, or leave the layer out with targets"
            )


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
