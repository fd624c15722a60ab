"""Notes of layers' inputs and outputs, taken in passes without tasks."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from ._layout import MOST, Layout, Mark, Moves, Seen, in_vmap, is_blind, layout
from ._origin import Origins
from ._told import Told, not_followed

Marked = tuple[Mark, bool]
"""A tensor's mark, and whether the input determines the order of its rows."""


@dataclass
class Tracers:
    """Numbers added to layers' outputs, different for each row, so that later layers can tell rows apart.

    Attributes:
        rows: number of rows of the whole batch.
        places: layouts of each layer's outputs, by path.
        others: paths of layers that get numbers from another seed.
        sizes: magnitudes by layer, call and leaf: the largest output of the first pass, at least 1.
        scale: factor on `sizes`.
    """

    rows: int
    places: Mapping[str, Sequence[Layout | None]]
    others: Collection[str] = ()
    sizes: dict[tuple[str, int, int], float] = field(default_factory=dict)
    scale: float = 1.0

    def added(self, layer: str, call: int, output: Any, index: Tensor) -> Any:
        """A layer's output with numbers added.

        Args:
            layer: the layer's path.
            call: number of its earlier calls.
            output: nested tensors.
            index: the rows of the batch in this pass.
        """
        leaves, form = tree_flatten(output)
        places = iter(self.places.get(layer, ()))
        for n, leaf in enumerate(leaves):
            place = next(places, None) if isinstance(leaf, Tensor) else None
            if place is not None and place.axis is not None and leaf.is_floating_point() and leaf.numel():
                with not_followed():
                    numbers = self._numbers((layer, call, n), leaf, place, index)
                leaves[n] = leaf + numbers
        return tree_unflatten(leaves, form)

    def _numbers(self, key: tuple[str, int, int], leaf: Tensor, place: Layout, index: Tensor) -> Tensor:
        if key not in self.sizes:
            size = float(leaf.float().nan_to_num(0.0).abs().amax().clamp(max=MOST))
            self.sizes[key] = self.scale * max(size, 1.0)  # smaller numbers would be lost in rounding
        seed = zlib.crc32(repr((key, key[0] in self.others)).encode())
        shape = [*leaf.shape]
        shape[place.axis or 0] = leaf.shape[place.axis or 0] // len(index) * self.rows
        every = torch.randn(shape, generator=torch.Generator().manual_seed(seed), device="cpu") * self.sizes[key]
        return place.take(every, index, self.rows).to(leaf)


@dataclass
class Notes:
    """The notes of one pass.

    Attributes:
        rows: number of rows of its batch.
        origins: an `Origins` follows the dependence on the input; otherwise the pass is not followed.
        tracers: numbers that layers add to their outputs; None: none.
        index: the rows of the tracers' batch in this pass.
        calls: marks of inputs and of outputs, for each call, by the layer's path.
    """

    rows: int
    origins: Told | None = None
    tracers: Tracers | None = None
    index: Tensor | None = None
    calls: dict[str, list[tuple[list[Marked], list[Marked]]]] = field(default_factory=dict)
    coarse: float = 0.0
    """The largest tolerance so far: single precision computed from half is no more exact than half."""

    def marked(self, tree: object) -> list[Marked]:
        """The marks of the tensors in a nested value."""
        hidden = [in_vmap] + ([self.origins.chosen] if isinstance(self.origins, Origins) else [])
        with not_followed():
            leaves = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
            found = [(Mark.of(leaf, self.rows, self.coarse), any(one(leaf) for one in hidden)) for leaf in leaves]
        self.coarse = max([self.coarse, *(mark.tolerance for mark, _ in found)])
        return found

    def noted(self, layer: str, inputs: list[Marked], output: Any) -> Any:
        """Notes a call of a layer; returns its output, with the tracers' numbers added."""
        calls = self.calls.setdefault(layer, [])
        calls.append((inputs, self.marked(output)))
        if self.tracers is not None and self.index is not None:
            output = self.tracers.added(layer, len(calls) - 1, output, self.index)
        if isinstance(self.origins, Origins):
            self.origins.made(tree_leaves(output))
        return output


@dataclass(frozen=True)
class Passes:
    """The notes of several passes of one batch: unchanged, in another order, and without some rows.

    Attributes:
        moves: the order and the parts.
        given: of the unchanged batch.
        turned: of the other order.
        less: of each part.
        astray: of each part, whether its pass told Python other numbers than the first and may have taken another path.
    """

    moves: Moves
    given: Notes
    turned: Notes
    less: Sequence[Notes]
    astray: Sequence[bool]

    def seen(self) -> dict[str, Seen]:
        """The layouts of each layer's tensors; unknown where its calls disagree."""
        return {layer: self._at(layer) for layer in self.given.calls}

    def once(self) -> frozenset[str]:
        """The paths of layers that the first pass called more often than the one of the same rows in another order."""
        calls = self.given.calls.items()
        return frozenset(path for path, each in calls if len(self.turned.calls.get(path, ())) < len(each))

    def blind(self, seen: Mapping[str, Seen]) -> set[str]:
        """The paths of layers whose first input has equal rows."""
        return {
            layer
            for layer, calls in self.given.calls.items()
            if any(
                is_blind(inputs[0][0], seen[layer].inputs[0], self.moves.rows)
                for inputs, _ in calls
                if inputs and seen[layer].inputs and not inputs[0][1]
            )
        }

    def _at(self, layer: str) -> Seen:
        on = self._on_path()
        passes = [notes.calls.get(layer, []) for notes in (self.given, self.turned, *(self.less[n] for n in on))]
        if len({len(calls) for calls in passes}) > 1:
            return Seen((None,), (None,))
        found = []
        for given, turned, *less in zip(*passes, strict=True):
            found.append(
                Seen(
                    *(
                        self._layouts(given[n], turned[n], {part: one[n] for part, one in zip(on, less, strict=True)})
                        for n in (0, 1)
                    )
                )
            )
        first = found[0]
        if all(one == first for one in found):
            return first
        return Seen(*(_common([getattr(one, name) for one in found]) for name in ("inputs", "outputs")))

    def _on_path(self) -> list[int]:
        """The parts whose passes were not astray; all, if each was."""
        return [n for n, astray in enumerate(self.astray) if not astray] or [*range(len(self.astray))]

    def _layouts(
        self, given: Sequence[Marked], turned: Sequence[Marked], less: Mapping[int, Sequence[Marked]]
    ) -> tuple[Layout | None, ...]:
        """The layouts of the tensors of one call; None for tensors whose row order the input determines."""
        if len({len(given), len(turned), *map(len, less.values())}) > 1:
            return tuple(None for _ in given)
        return tuple(
            None
            if mark[1]
            else layout(
                mark[0],
                turned[n][0],
                [(marks[n][0], self.moves.kept[part]) for part, marks in less.items()],
                self.moves,
            )
            for n, mark in enumerate(given)
        )

    def outputs(self, marked: Sequence[Sequence[Marked]]) -> tuple[Layout | None, ...]:
        """The layouts of the network's outputs in the passes; astray parts of comparable shape count too."""
        if len({len(marks) for marks in marked}) > 1:
            return tuple(None for _ in marked[0])
        found: list[Layout | None] = []
        on = self._on_path()
        for (given, _), (turned, _), *less in zip(*marked, strict=True):
            parts = [
                (mark, kept)
                for n, ((mark, _), kept) in enumerate(zip(less, self.moves.kept, strict=True))
                if n in on or _comparable(given, mark)
            ]
            found.append(layout(given, turned, parts, self.moves))
        return tuple(found)


def _comparable(one: Mark, other: Mark) -> bool:
    """Whether shapes differ in one axis at most."""
    return len(one.shape) == len(other.shape) and sum(a != b for a, b in zip(one.shape, other.shape, strict=True)) <= 1


def _common(layouts: Sequence[tuple[Layout | None, ...]]) -> tuple[Layout | None, ...]:
    """The layouts that several calls agree on, tensor by tensor."""
    if len({len(one) for one in layouts}) > 1:
        return (None,)
    return tuple(each[0] if all(one == each[0] for one in each) else None for each in zip(*layouts, strict=True))
