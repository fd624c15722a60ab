"""What a bank is asked for, checked: names of tasks, and indices of their rows."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch
from torch import Tensor

from ._table import Table


def places_of(table: Table, names: Sequence[str]) -> list[int]:
    """The places of tasks.

    Raises:
        ValueError: a task is not known, or there are none.
    """
    if not names:
        raise ValueError("the list of tasks is empty; give one name per row")
    for name in names:
        if name not in table.places:
            near = difflib.get_close_matches(str(name), list(table.places), 1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"task {name!r} is not in the bank, which has {len(table.places)}{hint}")
    return [table.places[name] for name in names]


def checked_index(table: Table, index: object) -> Tensor:
    """An index, checked: the tasks that it was made for are still there.

    Raises:
        TypeError: it is no tensor of whole numbers `[B]`.
        ValueError: one of its rows holds no task, or another one since.
    """
    if not isinstance(index, Tensor) or index.dim() != 1 or index.is_floating_point():
        given = f"a tensor {tuple(index.shape)} of {index.dtype}" if isinstance(index, Tensor) else repr(index)
        raise TypeError(f"index must be a tensor of rows such as bank.index(names) gives, found {given}")
    if torch.compiler.is_compiling():
        return index
    known: dict[str, int] = index.__dict__.get("tasks", {})
    for name, born in known.items():
        if table.born.get(name) != born:
            raise ValueError(f"index was made for task {name!r}, which is gone since; make it anew: bank.index(names)")
    if not known and index.device.type == "cpu" and (odd := set(index.tolist()) - set(table.places.values())):
        raise ValueError(f"index has row {min(odd)}, which holds no task; rows come from bank.index(names)")
    return index
