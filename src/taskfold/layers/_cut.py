"""Cuts a batch into the rows of each task, and joins the outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..kinds import Groups
from ._layout import Layout

PLAIN = (NoneType, bool, int, float, str, torch.dtype, torch.device)
"""Types of values that serve all rows, beside tensors."""


class NotCutError(Exception):
    """The layout of rows in a value is unknown; the message follows the layer's name."""


@dataclass(frozen=True)
class Cut:
    """The rows of each task of a batch.

    Attributes:
        batch: number of rows.
        entries: the tasks that occur.
        rows: `[n]` for each entry, the indices of its rows.
    """

    batch: int
    entries: Sequence[int]
    rows: Sequence[Tensor]

    @classmethod
    def of(cls, groups: Groups) -> Cut:
        """The cut of a batch that is sorted into groups."""
        batch = sum(groups.sizes)
        order = torch.arange(batch, device="cpu") if groups.order is None else groups.order
        return cls(batch, groups.entries, order.split(groups.sizes))

    def run(
        self,
        function: Callable[[int, Any], Any],
        arguments: Any,
        inputs: Sequence[Layout | None],
        outputs: Sequence[Layout | None],
    ) -> Any:
        """Calls a function once for the rows of each task.

        Args:
            function: (entry, its arguments) → nested tensors.
            arguments: nested tensors of all rows.
            inputs, outputs: the tensors' layouts; the last one holds for all that follow.

        Raises:
            NotCutError: an argument or an output can't be cut, or its layout is unknown.
        """
        leaves, form = tree_flatten(arguments)
        places = _places(leaves, inputs, "is given")
        made = []
        for entry, rows in zip(self.entries, self.rows, strict=True):
            mine = [leaf if place is None else place.take(leaf, rows, self.batch) for leaf, place in places]
            made.append(tree_flatten(function(entry, tree_unflatten(mine, form))))
        if any(found != made[0][1] for _, found in made):
            raise NotCutError("puts out something else for each task")
        return tree_unflatten(self.joined([mine for mine, _ in made], outputs), made[0][1])

    def joined(self, made: Sequence[list[Any]], outputs: Sequence[Layout | None]) -> list[Any]:
        """The leaves of the batch's output, from the leaves of each task's.

        Raises:
            NotCutError: as for `run`.
        """
        columns = [_places(leaves, outputs, "puts out") for leaves in made]
        return [self._joined(parts) for parts in zip(*columns, strict=True)]

    def _joined(self, parts: Sequence[tuple[Any, Layout | None]]) -> Any:
        leaves, place = [leaf for leaf, _ in parts], parts[0][1]
        if place is not None and place.axis is not None:
            found = [_of_a_row(leaf, place.axis, len(rows)) for leaf, rows in zip(leaves, self.rows, strict=True)]
            if other := next((size for size in found if size and size != found[0]), None):
                raise NotCutError(f"puts out {found[0]} for rows of one task, and {other} for those of another")
            return place.join(leaves, self.rows, self.batch)
        alike = all(leaf.equal(leaves[0]) if place else leaf == leaves[0] for leaf in leaves[1:])
        if not alike:
            what = f"a tensor {list(leaves[0].shape)} for all rows" if place else f"{leaves[0]!r:.40}"
            raise NotCutError(f"puts out {what}, which differs from task to task")
        return leaves[0]


def _of_a_row(leaf: Any, axis: int, rows: int) -> list[float]:
    """The sizes of one row of a tensor by axis; empty for a list, or for no rows."""
    if not isinstance(leaf, Tensor) or not rows:
        return []
    return [*leaf.shape[:axis], leaf.shape[axis] / rows, *leaf.shape[axis + 1 :]]


def _places(leaves: Sequence[Any], layouts: Sequence[Layout | None], verb: str) -> list[tuple[Any, Layout | None]]:
    """Each leaf with its layout; None: a plain value, which serves all rows."""
    found: list[tuple[Any, Layout | None]] = []
    tensors = 0
    for leaf in leaves:
        if isinstance(leaf, (Tensor, list, tuple)):  # a list has an entry for each row
            place = layouts[min(tensors, len(layouts) - 1)] if layouts else None
            if place is None:
                what = f"tensor {list(leaf.shape)}" if isinstance(leaf, Tensor) else f"list of {len(leaf)}"
                raise NotCutError(f"{verb} a {what} in which rows of the batch are not told apart")
            tensors += 1
            found.append((leaf, place))
        elif isinstance(leaf, PLAIN):
            found.append((leaf, None))
        else:
            raise NotCutError(f"{verb} a {type(leaf).__name__}, which can't be cut into rows")
    return found
