"""Broadcast as one batch that repeats all rows for each task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any

import torch
from torch import Tensor

from ..layers import FIRST, Layout, NotCutError
from ._nested import Nested

COMMON = (NoneType, str, torch.dtype, torch.device)
"""Types of output values that hold for each task alone; a number may be a count of rows or a mean over them."""


def repeated(inputs: Any, rows: int, tasks: int) -> Any:
    """The inputs with all rows repeated for each task, one task after another."""

    def of_each(leaf: Any) -> Any:
        return torch.cat([leaf] * tasks) if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == rows else leaf

    leaves, form = Nested.of(inputs)
    return form.filled([of_each(leaf) for leaf in leaves])


def of_rows_alone(places: Sequence[Layout | None]) -> bool:
    """Whether each output tensor has an axis of rows."""
    return all(place is not None and place.axis is not None for place in places)


def parted(made: Any, rows: int, tasks: int, places: Sequence[Layout | None] | None) -> list[Any]:
    """Splits a network's output for a repeated batch by task.

    Args:
        made: the output.
        rows: number of rows of the batch.
        tasks: number of repetitions.
        places: the layouts of the output's tensors; None: rows are the first axis.

    Raises:
        NotCutError: the output holds a value of all rows together (a loss, a count), which belongs to no task.
    """
    leaves, form = Nested.of(made)
    tensors = sum(isinstance(leaf, Tensor) for leaf in leaves)
    following = iter([FIRST] * tensors if places is None else places)
    columns = [_parts(leaf, following, rows, tasks) for leaf in leaves]
    if next(following, None) is not None:
        raise NotCutError("puts out fewer tensors than another time")
    return [form.filled([parts[n] for parts in columns]) for n in range(tasks)]


def _parts(leaf: Any, places: Iterator[Layout | None], rows: int, tasks: int) -> Sequence[Any]:
    if isinstance(leaf, COMMON):
        return [leaf] * tasks
    place, batch = next(places, None) if isinstance(leaf, Tensor) else None, rows * tasks
    if place is None or place.axis is None or leaf.dim() <= place.axis or leaf.shape[place.axis] != place.each * batch:
        what = f"a tensor {list(leaf.shape)}" if isinstance(leaf, Tensor) else f"{leaf!r:.40}"
        raise NotCutError(f"puts out {what}, in which rows of the batch are not told apart")
    mine = torch.arange(rows, device=leaf.device)
    return [place.take(leaf, mine + n * rows, batch) for n in range(tasks)] if place != FIRST else leaf.split(rows)
