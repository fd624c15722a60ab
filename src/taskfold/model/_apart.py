"""Checks that no other task and not the backbone hold a task's tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..layers import inventory_of
from ..refusals import UnfitError
from ..tasks import Named, Task


def check_apart(name: str, module: nn.Module, backbone: nn.Module, others: Mapping[str, Task] | Named[Task]) -> None:
    """Checks that neither the backbone nor another task holds a task's tensors or their memory.

    Args:
        name: of the task.
        module: the task, or its future head.
        backbone: the network.
        others: all other tasks, by name.

    Raises:
        ValueError: the backbone, another task or an inventory holds one.
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
    """Checks that a module's tensors are initialised.

    Raises:
        TypeError: a lazy layer's are not; names it.
    """
    for path, layer in module.named_modules():
        if any(
            tensor is not None and is_lazy(tensor)
            for table in (layer._parameters, layer._buffers)
            for tensor in table.values()
        ):
            raise UnfitError(
                f"layer {path!r} ({type(layer).__name__}) has no weights yet; run a batch through the {what} first"
            )


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _keys(tensor: Tensor) -> Iterator[object]:
    """Keys that identify a tensor: its id, and the address of its numbers."""
    yield id(tensor)
    if tensor.numel() and type(tensor) in (Tensor, nn.Parameter) and not tensor.is_meta:
        yield tensor.device, tensor.data_ptr()
