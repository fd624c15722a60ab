"""The backbone that a task was made for."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet, ref

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


class Origin:
    """The backbone that a task was made for, as a weak reference, which copies on disk do not have.

    Args:
        backbone: None: unknown.
    """

    def __init__(self, backbone: nn.Module | None = None) -> None:
        self.backbone = (lambda: None) if backbone is None else ref(backbone)

    def check(self, name: str, backbone: nn.Module, equal: WeakSet[nn.Module]) -> None:
        """Checks that `backbone` is the task's, or has the same numbers.

        Args:
            name: the task's name.
            backbone: the backbone at hand.
            equal: backbones found equal before, which are not compared again.

        Raises:
            ValueError: it is another; the message has the difference.
        """
        made_for = self.backbone()
        if made_for is not None and made_for in equal:
            return
        if odds := self.odds(backbone):
            raise ValueError(f"task {name!r} was made for another backbone: {odds}")
        if made_for is not None:
            equal.add(made_for)

    def odds(self, backbone: nn.Module) -> str | None:
        """The difference between another backbone and the task's, in words; None: there is none."""
        made_for = self.backbone()
        if made_for is backbone:
            return None
        if made_for is None:
            return "its own is not known or gone; save it by save_task, and load it by load_task here"
        mine, theirs = _state(made_for), _state(backbone)
        if odd := [key for key, tensor in mine.items() if key in theirs and tensor.shape != theirs[key].shape]:
            return f"its layer {_layer(odd[0])[0]!r} has other sizes"
        if missing := [key for key in mine if key not in theirs]:
            return "there is no layer {!r} with a {!r}".format(*_layer(missing[0]))
        if more := [key for key in theirs if key not in mine]:
            return "its own has no layer {!r} with a {!r}".format(*_layer(more[0]))
        other = next((key for key, tensor in mine.items() if not _same(tensor, theirs[key])), None)
        return None if other is None else f"{other!r} holds other numbers here"

    def __deepcopy__(self, memo: dict[int, Any]) -> Origin:
        return self

    def __reduce__(self) -> tuple[type[Origin], tuple[()]]:
        return Origin, ()


def _state(network: nn.Module) -> dict[str, Tensor]:
    """A network's tensors by name, with those packed into a module's own state."""
    leaves = ((key, tree_leaves(value)) for key, value in network.state_dict(keep_vars=True).items())
    found = ((key if not n else f"{key}:{n}", leaf) for key, every in leaves for n, leaf in enumerate(every))
    return {key: leaf for key, leaf in found if isinstance(leaf, Tensor)}


def _layer(key: str) -> tuple[str, str]:
    path, _, name = key.rpartition(".")
    return path, name


@torch.no_grad()
def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers; one may have been rounded to the other's precision."""
    if one is other or one.is_meta or other.is_meta:
        return one.is_meta == other.is_meta
    one = one.to(other.device)
    if one.dtype != other.dtype:
        type_ = min(one.dtype, other.dtype, key=lambda dtype: dtype.itemsize)
        one, other = one.to(type_), other.to(type_)
    return torch.equal(one, other)
