"""Which rows of the batch a network's layers see where: found by running the plain network on rows that are moved."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from ..layers import (
    PLAIN,
    TOLERANCE,
    Layout,
    OfTasks,
    Plan,
    Seen,
    Selection,
    directions,
)
from ._nested import Nested

UNKNOWN = Seen((None,), (None,))
"""Of a layer whose rows can't be told apart."""


@dataclass
class Known:
    """What was found out about batches of one form.

    Attributes:
        layers: where rows lie in the tensors of each layer.
        outputs: the same of the network's outputs, tensor by tensor.
        trouble: why inputs of this form can't be cut into rows; empty: they can.
        chosen: why what was found holds for that input alone, whose tasks run one by one; empty: it does not.
        lasting: it holds for the next batch of this form too.
        decisions: numbers that the network asked on its way: what was found holds for passes that get the same.
        once: layers that the first of several passes called more often: the others found what it had kept.
        failed: by layer, what was otherwise in a later batch.
        hooks: the user's, of which one changed what it was given.
        hooked: what that is said to have done.
        served: a mixed batch of this form has been evaluated in one pass.
        trained: the sets of tasks of which one has been trained on.
    """

    layers: Mapping[str, Seen] = field(default_factory=dict)
    outputs: tuple[Layout | None, ...] = ()
    trouble: str = ""
    chosen: str = ""
    lasting: bool = True
    decisions: tuple[Any, ...] = ()
    once: frozenset[str] = frozenset()
    failed: dict[str, str] = field(default_factory=dict)
    hooks: tuple[Any, ...] = ()
    hooked: str = ""
    served: bool = False
    trained: WeakSet[Plan] = field(default_factory=WeakSet)

    def has_answered(self, selection: Selection) -> bool:
        """Whether a pass like this one has come to its end: one that writes nothing, or one for these very tasks."""
        answers = selection.answers
        return isinstance(answers, OfTasks) and answers.plan in self.trained if selection.training else self.served

    def answered_for(self, selection: Selection) -> None:
        """Such a pass has come to its end."""
        if not selection.training:
            self.served = True
        elif isinstance(selection.answers, OfTasks):
            self.trained.add(selection.answers.plan)

    def unknown(self, layers: Collection[str]) -> str:
        """Why tasks that change these layers can't share a pass; empty: they can."""
        if self.chosen:
            return self.chosen
        for layer in layers:
            seen = self.layers.get(layer)  # None: it never ran, and is asked about when it does
            why = self.failed.get(layer, "" if seen is None else seen.unknown)
            if why:
                return f"layer {layer!r} {why}"
        return ""


@dataclass(frozen=True)
class Batch:
    """A network's inputs.

    Attributes:
        leaves: tensors and other values.
        form: how they are nested.
        rows: how many there are; a tensor with as many slices along its first axis holds one for each.
    """

    leaves: Sequence[Any]
    form: Nested
    rows: int

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any], rows: int) -> Batch:
        leaves, form = Nested.of((args, dict(kwargs)))
        return cls(leaves, form, rows)

    @property
    def key(self) -> tuple[object, ...]:
        """What of the inputs the places of rows depend on."""
        return str(self.form), *(self._key(leaf) for leaf in self.leaves)

    def _key(self, leaf: Any) -> object:
        if not isinstance(leaf, Tensor):
            return leaf if isinstance(leaf, PLAIN) else type(leaf)
        return leaf.shape, leaf.dtype, self.cut(leaf)

    def cut(self, leaf: object) -> bool:
        """Whether a value holds something for each row."""
        return isinstance(leaf, Tensor) and leaf.dim() > 0 and len(leaf) == self.rows

    def take(self, rows: Tensor) -> Batch:
        """These rows alone."""
        return replace(self, leaves=[_copied(leaf, self.rows, rows) for leaf in self.leaves], rows=len(rows))

    def twice(self) -> Batch:
        """Each row twice."""
        return self.take(torch.arange(self.rows, device="cpu").repeat(2))

    def copied(self) -> Batch:
        """The same in memory of its own."""
        return replace(self, leaves=[_copied(leaf, self.rows) for leaf in self.leaves])

    def given_back(self, other: Batch) -> Batch:
        """What somebody has written to another batch's tensors is undone; this one, from before, runs instead."""
        for mine, theirs in zip(self.leaves, other.leaves, strict=True):
            if isinstance(mine, Tensor) and theirs.shape == mine.shape and not torch.equal(mine, theirs):
                theirs.data.copy_(mine)
        return self

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and named."""
        return self.form.filled(self.leaves)

    def distinct(self) -> tuple[Batch, bool]:
        """The batch with rows that differ, and whether they do: equal rows don't show where they go."""
        if self._differ():
            return self, True
        numbers = torch.Generator().manual_seed(0)
        leaves = [self._other(leaf, numbers) if self.cut(leaf) else leaf for leaf in self.leaves]
        other = replace(self, leaves=leaves)
        return (other, True) if other._differ() else (self, False)

    def shaken(self) -> Batch:
        """The batch with other numbers, as large as those that it has."""
        numbers = torch.Generator().manual_seed(1)
        floats = [self.cut(leaf) and leaf.is_floating_point() for leaf in self.leaves]
        leaves = [self._other(leaf, numbers, 1.0) if it else leaf for leaf, it in zip(self.leaves, floats, strict=True)]
        return replace(self, leaves=leaves)

    def _differ(self) -> bool:
        """Whether all rows differ, and some by more than rounding."""
        found, visible = torch.zeros(self.rows, 0, dtype=torch.float64, device="cpu"), False
        for leaf in self.leaves:
            if self.cut(leaf):
                flat = leaf.detach().reshape(self.rows, -1).double().nan_to_num()
                numbers = (flat @ directions(flat.shape[1], flat)).cpu()
                found = torch.cat([found, numbers], 1)
                spread = (numbers.amax(0) - numbers.amin(0)).max()
                visible |= bool(spread > TOLERANCE * numbers.abs().max().clamp(min=1e-3))
        return visible and len(found.unique(dim=0)) == self.rows

    @staticmethod
    def _other(leaf: Tensor, numbers: torch.Generator, size: float = 0.1) -> Tensor:
        if leaf.is_floating_point():
            noise = torch.randn(leaf.shape, generator=numbers, device="cpu").to(leaf)
            return leaf + noise * (size * leaf.abs().float().mean().to(leaf) + 0.1)
        if leaf.dim() < 2:
            return leaf
        return torch.stack([row.roll(n, -1) for n, row in enumerate(leaf)])


def _copied(value: Any, size: int, rows: Tensor | None = None) -> Any:
    """A value with these rows alone, in memory of its own; a cache of keys and values, say, holds tensors inside."""
    if isinstance(value, Tensor):
        return (
            value[rows.to(value.device)] if rows is not None and value.dim() and len(value) == size else value.clone()
        )
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_copied(one, size, rows) for one in value)
    if isinstance(value, dict):
        return {name: _copied(one, size, rows) for name, one in value.items()}
    if isinstance(value, (nn.Module, type, *PLAIN)) or not hasattr(value, "__dict__"):
        return value
    twin = copy.copy(value)
    twin.__dict__.update(_copied(vars(value), size, rows))
    return twin


def copied(value: Any) -> Any:
    """A value in memory of its own, tensors inside it too."""
    return _copied(value, -1)


def agreed(known: Iterable[Known]) -> dict[str, Seen]:
    """By layer, what is known of rows in every form of inputs that a mixed batch has had."""
    found: dict[str, Seen] = {}
    for one in known:
        for layer, seen in one.layers.items():
            if one.unknown([layer]) or one.trouble or not _alike(found.setdefault(layer, seen), seen):
                found[layer] = UNKNOWN
    return found


def _alike(one: Seen, other: Seen) -> bool:
    """Whether rows lie alike, each of them as so many as may be."""

    def order(places: Iterable[Layout | None]) -> list[object]:
        return [None if place is None else (place.axis, place.copies, place.copies and place.each) for place in places]

    return order(one.inputs) == order(other.inputs) and order(one.outputs) == order(other.outputs)


def prompts(network: nn.Module, batch: Batch) -> Batch:
    """The inputs of one step, from those of a network that writes text."""
    args, kwargs = batch.arguments()
    config: Any = getattr(network, "config", None)
    names = signature(type(network).forward).parameters
    named = {name: value for name, value in kwargs.items() if name in names and value is not None}
    main = getattr(network, "main_input_name", "input_ids")
    if args:
        named[main] = args[0]
    elif kwargs.get("inputs") is not None:
        named[main] = kwargs["inputs"]
    if "use_cache" in names:
        named["use_cache"] = False
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in names:
        first = next(value for value in named.values() if isinstance(value, Tensor))
        start = torch.arange(batch.rows, device=first.device)[:, None] % 2  # rows that differ
        named.setdefault("decoder_input_ids", start)
    return Batch.of((), named, batch.rows)


def padding_of(network: nn.Module, kwargs: Mapping[str, Any]) -> int:
    """What a text is padded with."""
    settings = kwargs.get("generation_config") or getattr(network, "generation_config", None)
    for name in ("pad_token_id", "eos_token_id"):
        value = kwargs.get(name, getattr(settings, name, None))
        if value is not None:
            return int(value[0] if isinstance(value, (list, tuple)) else value)
    return 0
