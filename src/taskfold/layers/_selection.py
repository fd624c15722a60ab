"""Which tasks a forward pass is for. Per thread, so that two requests at once never see each other's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from ..tasks import Task


@dataclass(frozen=True)
class Selection:
    """The tasks of one forward pass.

    Attributes:
        tasks: the distinct tasks.
        rows: `[B]` index into `tasks`, one per row of the batch; None: the single task serves every row.
        training: whether the pass trains (a task's own normalisation then uses batch statistics).
    """

    tasks: tuple[Task, ...]
    rows: Tensor | None
    training: bool

    def row_index(self, size: int, layer: str) -> Tensor:
        """The task of each of `size` rows at a layer; windows or beams of one row keep its task.

        Raises:
            ValueError: the layer's first axis is not a multiple of the batch.
        """
        assert self.rows is not None
        batch = len(self.rows)
        if size == batch:
            return self.rows
        if size % batch:
            raise ValueError(
                f"layer {layer!r} got {size} rows for a mixed batch of {batch}: its first axis must be the batch "
                "(or a multiple of it); run such a network one task at a time"
            )
        return self.rows.repeat_interleave(size // batch)


class _Current(threading.local):
    selection: Selection | None = None


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


@contextmanager
def selecting(selection: Selection) -> Iterator[None]:
    """Run a block for that selection; the one before comes back afterwards."""
    before = _current.selection
    _current.selection = selection
    try:
        yield
    finally:
        _current.selection = before
