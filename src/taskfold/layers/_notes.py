"""What layers see of a batch, noted in passes that leave tasks alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor
from torch.utils._pytree import tree_leaves

from ._layout import Layout, Mark, Moves, Seen, layout
from ._origin import Origins, not_followed

Marked = tuple[Mark, bool]
"""A tensor's mark, and whether the input says which of its rows stands where."""


@dataclass
class Notes:
    """One pass.

    Attributes:
        rows: of its batch.
        origins: follows where numbers come from; None: nobody does in this pass.
        calls: by layer, the tensors of inputs and of outputs of each of its calls.
    """

    rows: int
    origins: Origins | None = None
    calls: dict[str, list[tuple[list[Marked], list[Marked]]]] = field(default_factory=dict)

    def marked(self, tree: object) -> list[Marked]:
        """The tensors in something nested."""
        chosen = Origins.nothing if self.origins is None else self.origins.chosen
        with not_followed():
            return [(Mark.of(leaf, self.rows), chosen(leaf)) for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


@dataclass(frozen=True)
class Passes:
    """The same batch three times: as it is, its rows in another order, and without some of them."""

    moves: Moves
    given: Notes
    turned: Notes
    less: Notes

    def seen(self) -> dict[str, Seen]:
        """Where rows lie in the tensors of each layer, if all of its calls agree."""
        return {layer: self._at(layer) for layer in self.given.calls}

    def once(self) -> frozenset[str]:
        """Layers that the first pass called more often than any later one."""
        given, *later = ({path: len(calls) for path, calls in one.calls.items()} for one in self._three())
        return frozenset(path for path, often in given.items() if all(one.get(path, 0) < often for one in later))

    def _three(self) -> tuple[Notes, Notes, Notes]:
        return self.given, self.turned, self.less

    def _at(self, layer: str) -> Seen:
        three = [notes.calls.get(layer, []) for notes in (self.given, self.turned, self.less)]
        if len({len(calls) for calls in three}) > 1:
            return Seen((None,), (None,))
        found = [
            Seen(*(self.layouts([call[n] for call in calls], origins=True) for n in (0, 1)))
            for calls in zip(*three, strict=True)
        ]
        first = found[0]
        if all(one == first for one in found):
            return first
        return Seen(*(_common([getattr(one, name) for one in found]) for name in ("inputs", "outputs")))

    def layouts(self, three: Sequence[Sequence[Marked]], *, origins: bool) -> tuple[Layout | None, ...]:
        """Of the tensors of one call in three passes; with `origins` none of those that the input has put in order."""
        if len({len(marked) for marked in three}) > 1:
            return tuple(None for _ in three[0])
        return tuple(
            None if origins and given[1] else layout(given[0], turned[0], less[0], self.moves)
            for given, turned, less in zip(*three, strict=True)
        )


def _common(layouts: Sequence[tuple[Layout | None, ...]]) -> tuple[Layout | None, ...]:
    """What several calls agree on, tensor by tensor."""
    if len({len(one) for one in layouts}) > 1:
        return (None,)
    return tuple(each[0] if all(one == each[0] for one in each) else None for each in zip(*layouts, strict=True))
