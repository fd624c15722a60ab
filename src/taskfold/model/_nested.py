"""Leaves of nested values: of torch's pytrees, and of other mappings and dataclasses that hold tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

_DEPTH = 6


@dataclass(frozen=True)
class Nested:
    """The structure of nested values.

    Attributes:
        spec: of torch's pytree.
        inside: by index of the pytree's leaf, a container that torch does not know, and its structure.
    """

    spec: TreeSpec
    inside: Mapping[int, tuple[Any, Nested]]

    def __str__(self) -> str:
        return f"{self.spec}" + "".join(f" {n}: {type(one)} {form}" for n, (one, form) in self.inside.items())

    @classmethod
    def of(cls, value: Any, depth: int = 0, whole: Callable[[Any], bool] | None = None) -> tuple[list[Any], Nested]:
        """The leaves and the structure of a value; `whole`: which of its parts are leaves."""
        found, spec = tree_flatten(value, is_leaf=whole)
        leaves: list[Any] = []
        inside: dict[int, tuple[Any, Nested]] = {}
        for place, leaf in enumerate(found):
            held = _content(leaf) if depth < _DEPTH and not (whole and whole(leaf)) else None
            mine, form = ([leaf], None) if held is None else cls.of(held, depth + 1, whole)
            if form is None or not any(isinstance(one, Tensor) or (whole and whole(one)) for one in mine):
                leaves.append(leaf)
            else:
                inside[place] = leaf, form
                leaves += mine
        return leaves, cls(spec, inside)

    def filled(self, leaves: Sequence[Any]) -> Any:
        """The structure with other leaves, in new containers."""
        return self._filled(iter(leaves))

    def _filled(self, following: Iterator[Any]) -> Any:
        made: list[Any] = []
        for place in range(self.spec.num_leaves):
            like, form = self.inside.get(place, (None, None))
            made.append(next(following) if form is None else _with(like, form._filled(following)))
        return tree_unflatten(made, self.spec)


def seen_in(output: Any) -> list[Any]:
    """The leaves of an output; if none is a tensor, with the tensors that its objects hold."""
    leaves = Nested.of(output)[0]
    return leaves if any(isinstance(leaf, Tensor) for leaf in leaves) else [*leaves, *_held(leaves, set())]


def _held(leaves: Sequence[Any], seen: set[int], depth: int = 0) -> Iterator[Tensor]:
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            yield leaf
        elif depth < _DEPTH and id(leaf) not in seen and not isinstance(leaf, (nn.Module, type)):
            seen.add(id(leaf))
            names = [*getattr(leaf, "__dict__", ()), *getattr(type(leaf), "__slots__", ())]
            inside = [vars(leaf)[n] if n in getattr(leaf, "__dict__", ()) else getattr(leaf, n, None) for n in names]
            yield from _held(Nested.of(inside)[0], seen, depth + 1)


def _content(value: Any) -> dict[Any, Any] | None:
    """A container's content by name; None: not a container, or one that can't be rebuilt."""
    if isinstance(value, (Tensor, nn.Module, type)):
        return None
    if isinstance(value, (MutableMapping, MappingProxyType)):
        return dict(value)
    if is_dataclass(value):
        return {one.name: getattr(value, one.name) for one in fields(value) if hasattr(value, one.name)}
    return None


def _with(like: Any, content: dict[Any, Any]) -> Any:
    """A container like `like` with other content."""
    if isinstance(like, MappingProxyType):
        return MappingProxyType(content)
    twin = copy.copy(like)
    for name, value in content.items():
        if isinstance(twin, MutableMapping):
            twin[name] = value
        else:
            object.__setattr__(twin, name, value)  # the dataclass may be frozen
    return twin
