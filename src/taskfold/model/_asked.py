"""Checks of a bank's arguments: names of tasks, and indices of their rows."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch
from torch import Tensor

from ._table import ROWS, Table


def places_of(table: Table, names: Sequence[str]) -> list[int]:
    """The places of tasks.

    Raises:
        ValueError: a task is unknown, or the list is empty.
    """
    if not names:
        raise ValueError("the list of tasks is empty; give one name per row")
    for name in names:
        if name not in table.places:
            near = difflib.get_close_matches(str(name), list(table.places), 1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"task {name!r} is not in the bank, which has {len(table.places)}{hint}")
    return [table.places[name] for name in names]


def index_of(table: Table, names: Sequence[str]) -> Tensor:
    """The numbers of tasks, `[B]`; the tensor also carries them as Python numbers, to avoid a device sync.

    Raises:
        ValueError: a task is unknown, or the list is empty.
    """
    places = tuple(places_of(table, names))
    numbers = [table.tasks[name] for name in names]
    index = torch.tensor(numbers, device=table.numbers.device)
    if (version := _version(index)) is not None:
        vars(index)["asked"] = version, tuple(dict.fromkeys(numbers)), places
    return index


def rows_at(table: Table, index: object) -> tuple[Tensor, tuple[int, ...] | None]:
    """The rows of a table for an index, as a tensor and, unless a compiler traces, as Python numbers.

    Raises:
        TypeError: the index is no int64 tensor `[B]`.
        ValueError: a task was removed, or the index comes from another bank.
        RuntimeError: the same, in a compiled or exported bank.
    """
    if not isinstance(index, Tensor) or index.dim() != 1 or index.dtype != torch.long:
        given = f"a tensor {tuple(index.shape)} of {index.dtype}" if isinstance(index, Tensor) else repr(index)
        raise TypeError(f"index must be a tensor [B] of torch.int64 as bank.index(names) gives, found {given}")
    if torch.compiler.is_compiling():
        return _traced(table, index), None
    version, numbers, places = index.__dict__.get("asked", (None, (), ()))
    if version is None or version != _version(index):
        numbers = index.tolist()
        places = tuple(number % ROWS for number in numbers)
    for number in numbers:
        if number not in table.held:
            raise ValueError(_odd(table, number))
    return index % ROWS, places


def _version(index: Tensor) -> int | None:
    """A tensor's version; None: torch does not count it."""
    return None if index.is_inference() else index._version


def _odd(table: Table, number: int) -> str:
    """The error for a number without a task."""
    if number in table.gone:
        return f"index was made for task {table.gone[number]!r}, which is gone since; make it anew: bank.index(names)"
    return f"index holds {number}, which this bank has not given; make it with the index(names) of this bank"


def _traced(table: Table, index: Tensor) -> Tensor:
    """The rows, checked in the graph. An exported graph takes places too; bad numbers get a row out of range."""
    rows, size = index % ROWS, len(table.there)
    there = table.there.index_select(0, rows.clamp(max=size - 1))
    known = there == index
    if torch.compiler.is_exporting():
        known = known | ((index == rows) & (rows < size) & (there >= 0))
    torch._assert_async(known.all(), "index is not of this bank, or one of its tasks is gone; make it anew")
    return torch.where(known, rows, size)
