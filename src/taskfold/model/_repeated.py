"""A batch that is there once for each task, as the rows of a single one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any

import torch
from torch import Tensor

from ..layers import FIRST, Layout, NotCutError
from ._nested import Nested

COMMON = (NoneType, str, torch.dtype, torch.device)
"""What says the same of one task as of all; a number may count rows, or be a mean over them."""


def repeated(inputs: Any, rows: int, tasks: int) -> Any:
    """The inputs with all rows once for each task, one task after another."""

    def of_each(leaf: Any) -> Any:
        return torch.cat([leaf] * tasks) if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == rows else leaf

    leaves, form = Nested.of(inputs)
    return form.filled([of_each(leaf) for leaf in leaves])


def of_rows_alone(places: Sequence[Layout | None]) -> bool:
    """Whether each tensor that a network puts out holds something for each row, and nothing else."""
    return all(place is not None and place.axis is not None for place in places)


def parted(made: Any, rows: int, tasks: int, places: Sequence[Layout | None] | None) -> list[Any]:
    """What a network makes of a repeated batch, by task.

    Args:
        made: its output.
        rows: of the batch.
        tasks: how often it was repeated.
        places: where rows lie in each tensor of the output; None: on the first axis, one entry for each.

    Raises:
        NotCutError: it holds something of all rows together (a loss, a number of them), which is no task's own.
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
