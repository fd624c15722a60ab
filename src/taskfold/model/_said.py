"""Outputs of tasks' heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from ..kinds import stand_in
from ..layers import in_mode
from ..tasks import Task


def output_of(task: Task, features: Any, training: bool) -> Any:
    """The output of the head in a mode, in the type of the features; without a head, the features.

    A head has at least single precision. A linear head runs in the type of the features, any other in its own. The
    head's own mode does not change, since concurrent passes may need another.

    Raises:
        ValueError: a linear head gets features of another width.
    """
    head = task.head
    if head is None:
        return features
    if type(head) is nn.Linear:
        check_features(features, head.in_features, f"task {task.name!r}: its head takes")
    elif head.training is not training:
        head = in_mode(head, training)
    return _in_their_type(head, features)


def _in_their_type(head: nn.Module, features: Any) -> Any:
    dtype, own = _type_of(features), next((t.dtype for t in _numbers(head)), None)
    if own is None or own == dtype or runs_in(features) is None:
        return head(features)
    if type(head) is nn.Linear:
        mine: dict[str, Tensor | None] = {name: p.to(dtype) for name, p in head.named_parameters()}
        return stand_in(head, mine)(features)
    return tree_map(_cast(dtype), head(tree_map(_cast(own), features)))


class InTheirType(nn.Module):
    """A head that returns outputs in the type of its features."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Any) -> Any:
        return _in_their_type(self.head, features)


def in_type(head: nn.Module, network: nn.Module) -> nn.Module:
    """A head in the type of the plain network before it; for a network of several types, `InTheirType`."""
    types = {one.dtype for one in _numbers(network) if one.element_size() > 1}
    if len(types) > 1:
        return InTheirType(head)
    return head.to(types.pop()) if types else head


def runs_in(features: Any) -> torch.dtype | None:
    """The type of the features, in which heads run; None: autocast sets it, or there are no features."""
    found = next((leaf for leaf in tree_leaves(features) if _is_number(leaf)), None)
    return None if found is None or found.is_meta or torch.is_autocast_enabled(found.device.type) else found.dtype


def check_features(features: Any, width: int, whose: str) -> None:
    """Checks the features for a linear head.

    Args:
        features: the head's input.
        width: of the head.
        whose: the beginning of the message, up to the width.

    Raises:
        ValueError: they have another width; says what to give `MultiTask`.
    """
    if not isinstance(features, Tensor):
        raise ValueError(
            f"{whose} {width} features, and is given {type(features).__name__}; give MultiTask "
            "features=lambda output: …, which returns a tensor [batch, features]"
        )
    if features.dim() and features.shape[-1] == width:
        return
    shape = list(features.shape)
    if features.dim() > 2 and shape[1] == width:
        pool = "output.flatten(1)" if features[0].numel() == width else "output.flatten(2).mean(2)"
        remedy = f"features=lambda output: {pool}"
    else:
        remedy = f"num_features={shape[-1] if features.dim() == 2 else '…'}, or features=lambda output: …"
    raise ValueError(f"{whose} {width} features, and the backbone gives {shape}; give MultiTask {remedy}")


def _numbers(module: nn.Module) -> Sequence[Tensor]:
    return [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]


def _is_number(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def _type_of(features: Any) -> torch.dtype | None:
    return next((leaf.dtype for leaf in tree_leaves(features) if _is_number(leaf)), None)


def _cast(dtype: torch.dtype | None) -> Callable[[Any], Any]:
    return lambda leaf: leaf.to(dtype) if _is_number(leaf) else leaf
