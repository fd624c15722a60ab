"""The findings about batches, and what those for several forms agree on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from ..layers import Layout, OfTasks, Plan, Seen, Selection
from ._entries import Path

UNKNOWN = Seen((None,), (None,))
"""The value for a layer whose rows can't be told apart."""


@dataclass
class Known:
    """The findings about batches of one form.

    Attributes:
        layers: the layouts of each layer's tensors.
        outputs: the layouts of the network's outputs.
        trouble: why inputs of this form can't be cut into rows; empty: they can.
        chosen: why the findings hold for this input alone, so that its tasks run one by one; empty: they do not.
        apart: why tasks run one by one, although the rows of layers and outputs are known; empty: they need not.
        lasting: the findings hold for later batches of this form.
        equal: they hold for later batches in which the same rows are equal.
        decisions: the numbers that the network read: the findings hold for passes that read the same.
        each: indices of those that each row must give by itself too, since nobody has seen what another does.
        once: layers that the first of several passes called more often, so that it cached their outputs.
        failed: by layer, the deviation of a later batch.
        reading, copies: how the inputs are read (see `Batch`).
        lists: paths of lists in the output that have an entry for each row.
        hooks: the user's hooks, if one of them changes its arguments.
        hooked: the message of that hook's error.
        under: the findings for batches under these hooks.
        served: a mixed batch of this form was evaluated in one pass.
        trained: the plans of the sets of tasks that were trained on such a batch.
        stepped: the first step of a text after such prompts has been looked at.
    """

    layers: Mapping[str, Seen] = field(default_factory=dict)
    outputs: tuple[Layout | None, ...] = ()
    trouble: str = ""
    chosen: str = ""
    apart: str = ""
    lasting: bool = True
    equal: bool = False
    decisions: tuple[Any, ...] = ()
    each: tuple[int, ...] = ()
    once: frozenset[str] = frozenset()
    reading: int = 0
    copies: bool | None = None
    lists: tuple[Path, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    hooks: tuple[Any, ...] = ()
    hooked: str = ""
    under: Known | None = None
    served: bool = False
    trained: WeakSet[Plan] = field(default_factory=WeakSet)
    stepped: bool = False

    def has_answered(self, selection: Selection) -> bool:
        """Whether a pass like this one has succeeded: in evaluation any, in training one for the same tasks."""
        answers = selection.answers
        return isinstance(answers, OfTasks) and answers.plan in self.trained if selection.training else self.served

    def answered_for(self, selection: Selection) -> None:
        if not selection.training:
            self.served = True
        elif isinstance(selection.answers, OfTasks):
            self.trained.add(selection.answers.plan)

    def unknown(self, layers: Collection[str]) -> str:
        """Why tasks that change these layers can't share a pass; empty: they can."""
        if self.chosen or self.apart:
            return self.chosen or self.apart
        for layer, seen in self.layers.items():  # one that never ran is checked by its site when it does
            if layer in layers and (why := self.failed.get(layer, seen.unknown)):
                return f"layer {layer!r} {why}"
        return next((f"layer {layer!r} {why}" for layer, why in self.failed.items() if layer in layers), "")


def agreed(known: Iterable[Known]) -> dict[str, Seen]:
    """The layouts by layer on which the findings for all forms of inputs agree."""
    found: dict[str, Seen] = {}
    for one in known:
        for layer, seen in one.layers.items():
            if one.unknown([layer]) or one.trouble or not _alike(found.setdefault(layer, seen), seen):
                found[layer] = UNKNOWN
    return found


def elsewhere(first: Known, later: Known, layers: Collection[str]) -> str:
    """Why tasks that change these layers can't share a later step of a text; empty: they can."""
    for layer, seen in later.layers.items():
        if layer in layers and not _alike(first.layers.get(layer, seen), seen):
            return f"layer {layer!r} sees the rows of the batch elsewhere than in the first step"
    return ""


def _alike(one: Seen, other: Seen) -> bool:
    """Whether layouts agree except in the number of entries per row."""

    def order(places: Iterable[Layout | None]) -> list[object]:
        return [None if place is None else (place.axis, place.copies, place.copies and place.each) for place in places]

    return order(one.inputs) == order(other.inputs) and order(one.outputs) == order(other.outputs)
