"""Output lists with an entry for each row, as of detectors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten

from ..layers import TOLERANCE, Mark, Moves, is_same, not_followed
from ._nested import Nested

Path = tuple[int, ...]
"""The position of a nested value: the index of the child in each container on the way."""


def _children(value: Any) -> list[Any]:
    """The children of a container that pytrees know; empty for a leaf."""
    found = tree_flatten(value, is_leaf=lambda one: one is not value)[0]
    return [] if len(found) == 1 and found[0] is value else found


def lists_of(outputs: Sequence[Any], rows: Sequence[int], path: Path = ()) -> Iterator[Path]:
    """The paths of the outermost lists that have as many entries as rows in each of several passes."""
    if all(type(one) in (list, tuple) and len(one) == size for one, size in zip(outputs, rows, strict=True)):
        yield path
        return
    children = [_children(one) for one in outputs]
    if len({type(one) for one in outputs}) == len({*map(len, children)}) == 1:
        for n, each in enumerate(zip(*children, strict=True)):
            yield from lists_of(each, rows, (*path, n))


def flat(value: Any, lists: Sequence[Path]) -> tuple[list[Any], Nested]:
    """The leaves and the structure of an output, with these lists as leaves."""
    found = set()
    for path in lists:
        one = value
        for n in path:
            one = _children(one)[n]
        found.add(id(one))
    return Nested.of(value, whole=lambda one: id(one) in found)


def without(value: Any, lists: Sequence[Path]) -> list[Any]:
    """The leaves except these lists."""
    return [leaf for leaf in flat(value, lists)[0] if not isinstance(leaf, (list, tuple))]


def entries_follow(outputs: Sequence[Any], moves: Moves) -> bool:
    """Whether a list's entries move with the rows; `outputs`: the list from each pass of `moves`, unchanged first."""
    given, *others = [[_marked(entry) for entry in one] for one in outputs]
    return all(
        len(one) == len(rows) and all(_alike(given[n], mine) for n, mine in zip(rows.tolist(), one, strict=True))
        for one, rows in zip(others, (moves.order, *moves.kept), strict=True)
    )


def entries_same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return len(one) == len(other) and all(map(_alike, map(_marked, one), map(_marked, other)))


def entries_equal(entries: Sequence[Any]) -> bool:
    """Whether all entries are equal, so that they can't be told apart."""
    first, *others = map(_marked, entries)
    return all(_alike(first, one) for one in others)


def _marked(entry: Any) -> tuple[list[Any], Any]:
    leaves, form = tree_flatten(entry)
    with not_followed():
        return [Mark.of(leaf, 1) if isinstance(leaf, Tensor) else leaf for leaf in leaves], form


def _alike(one: tuple[list[Any], Any], other: tuple[list[Any], Any]) -> bool:
    return one[1] == other[1] and all(map(_equal, one[0], other[0]))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Mark) and isinstance(other, Mark):
        return is_same(one, other)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=1e-3 * TOLERANCE) or (one != one and other != other)
    same = one == other
    return bool(same.all() if hasattr(same, "all") else same)
