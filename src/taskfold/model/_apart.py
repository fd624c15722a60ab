"""Whose a tensor is: what one task trains, nobody else may hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..layers import inventory_of
from ..tasks import Named, Task


def check_apart(name: str, module: nn.Module, backbone: nn.Module, others: Mapping[str, Task] | Named[Task]) -> None:
    """Nobody else may hold a tensor of a task's, or its numbers under another tensor.

    Args:
        name: of the task.
        module: the task, or what is to be its head.
        backbone: the network.
        others: all other tasks, by name.

    Raises:
        ValueError: the backbone, another task or what tasks share does.
    """
    own = {key for tensor in _tensors(module) for key in _keys(tensor)}
    held: list[tuple[str, Iterable[Tensor]]] = [("the backbone", _tensors(backbone))]
    for other in others:
        task = others[other]
        held.append((f"task {other!r}", chain(inventory_of(task).values(), _tensors(task))))
    for owner, tensors in held:
        if any(key in own for tensor in tensors for key in _keys(tensor)):
            raise ValueError(
                f"task {name!r} holds tensors that {owner} holds too (the same head module?); training it would "
                f"move {owner}: give the task a copy (copy.deepcopy)"
            )


def check_ready(module: nn.Module, what: str) -> None:
    """A module has all of its tensors.

    Raises:
        TypeError: a lazy layer has none yet; names it.
    """
    for path, layer in module.named_modules():
        if any(
            tensor is not None and is_lazy(tensor)
            for table in (layer._parameters, layer._buffers)
            for tensor in table.values()
        ):
            raise TypeError(
                f"layer {path!r} ({type(layer).__name__}) has no weights yet; run a batch through the {what} first"
            )


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _keys(tensor: Tensor) -> Iterator[object]:
    """What tells a tensor from others: itself, and where its numbers begin."""
    yield id(tensor)
    if tensor.numel() and type(tensor) in (Tensor, nn.Parameter) and not tensor.is_meta:
        yield tensor.device, tensor.data_ptr()
