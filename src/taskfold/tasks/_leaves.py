"""Tensors of a task, or of the model's inventory, each with its group."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, ItemsView, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from math import prod
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..factors import Group, Leaf, Storage


class Leaves(nn.Module):
    """Tensors by name: parameters, and buffers for running statistics of a task's own.

    They stay in at least single precision when the model is cast: small steps are lost in half precision.

    Args:
        tensors: the tensors by name; dots become slashes.
        groups: the group of each, for counting and optimisers.
        stored: the storage in files of tensors that are not stored by value.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], groups: Mapping[str, Group], stored: Mapping[str, Storage] | None = None
    ) -> None:
        super().__init__()
        self.groups = {slashed(name): group for name, group in groups.items()}
        self.stored = {slashed(name): how for name, how in (stored or {}).items()}
        for name, tensor in tensors.items():
            # Set in the tables directly: the names of a unit's children have dots.
            if isinstance(tensor, nn.Parameter):
                trains = groups[name].trained and tensor.is_floating_point()
                tensor.requires_grad_(trains)
                self._parameters[slashed(name)] = tensor
            else:
                self._buffers[slashed(name)] = tensor

    def held(self) -> dict[str, Tensor]:
        """All tensors, by their given names."""
        return {dotted(name): tensor for name, tensor in self.items()}

    def items(self) -> ItemsView[str, Any]:
        return {**self._parameters, **self._buffers}.items()

    def values(self) -> list[Tensor]:
        return [tensor for _, tensor in self.items()]

    def table(self, name: str) -> Mapping[str, Tensor | None]:
        """The module's table that holds a tensor: parameters, or buffers."""
        return self._parameters if name in self._parameters else self._buffers

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        return super()._apply(keeping_precision(fn), recurse)

    def __getitem__(self, name: str) -> nn.Parameter:
        tensor = self._parameters.get(name)
        return self._buffers[name] if tensor is None else tensor  # type: ignore[return-value]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._parameters, *self._buffers])

    def __contains__(self, name: object) -> bool:
        return name in self._parameters or name in self._buffers

    def __len__(self) -> int:
        return len(self._parameters) + len(self._buffers)


Inventory = MutableMapping[str, Leaves]
"""The inventories of a model, by key: `<method>/<layer>/<part>`."""


_MOST = ContextVar("most numbers of a leaf", default=1 << 40)


@contextmanager
def at_most(numbers: int) -> Iterator[None]:
    """Run a block in which a leaf with more numbers is refused before it is allocated."""
    token = _MOST.set(numbers)
    try:
        yield
    finally:
        _MOST.reset(token)


_LEFT = ContextVar[list[int] | None]("bytes that leaves may still take", default=None)


@contextmanager
def within_memory() -> Iterator[None]:
    """Run a block whose leaves together are limited to the machine's memory."""
    token = _LEFT.set([memory()])
    try:
        yield
    finally:
        _LEFT.reset(token)


@cache
def memory() -> int:
    """Bytes of the machine's memory; the largest integer if the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return sys.maxsize


def check_room(leaves: Mapping[str, Leaf], like: Tensor) -> int:
    """Checks that leaves are within `at_most`, and with earlier ones within the memory.

    Returns:
        The bytes that they take.

    Raises:
        ValueError: they are not; the message names the leaf and its shape.
    """
    counts = like.device.type == "cpu"
    left = (_LEFT.get() or [memory()])[0]
    taken = 0
    for name, leaf in leaves.items():
        numbers = prod(leaf.shape)
        taken += numbers * kept_in(like.dtype).itemsize
        few, small = numbers <= _MOST.get(), taken <= left or not counts
        if not (few and small):
            room = f"{left / 2**30:.1f} GiB in all" if few else f"{_MOST.get():,} numbers"
            raise ValueError(
                f"{name!r} would have shape {list(leaf.shape)}, and there is room for {room}; choose smaller settings"
            )
    return taken if counts else 0


def make(leaves: Mapping[str, Leaf], like: Tensor, values: Mapping[str, Tensor]) -> Leaves:
    """Parameters for leaves.

    Args:
        leaves: the leaves by name.
        like: a tensor with the device and precision.
        values: initial values; other leaves have their own initialisation.

    Raises:
        ValueError: there is no room for a leaf.
    """
    dtype, taken = kept_in(like.dtype), check_room(leaves, like)
    if (left := _LEFT.get()) is not None:
        left[0] -= taken
    made: dict[str, Tensor] = {}
    for name, leaf in leaves.items():
        try:
            numbers = torch.empty(leaf.shape, dtype=leaf.dtype or dtype, device=like.device)
        except RuntimeError as error:
            raise ValueError(
                f"{name!r} would have shape {list(leaf.shape)}, and {like.device} has no room for it: choose smaller "
                "settings"
            ) from error
        parameter = nn.Parameter(numbers, requires_grad=numbers.is_floating_point())
        if name in values:
            parameter.data.copy_(values[name])
        elif not parameter.is_meta:
            leaf.start(parameter.data)
        made[name] = parameter
    groups = {name: leaf.group for name, leaf in leaves.items()}
    stored = {name: leaf.stored for name, leaf in leaves.items() if leaf.stored is not None}
    return Leaves(made, groups, stored)


def kept_in(dtype: torch.dtype) -> torch.dtype:
    """The type of a task's numbers for a layer of the given type: at least single precision.

    Example:
        >>> kept_in(torch.bfloat16), kept_in(torch.float64), kept_in(torch.uint8)
        (torch.float32, torch.float64, torch.float32)
    """
    return torch.promote_types(dtype, torch.float32)


def keeping_precision(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A move or cast of tensors that leaves single precision as it is when it casts to half precision."""

    def moved(tensor: Tensor) -> Any:
        made = fn(tensor)
        if not (isinstance(made, Tensor) and made.is_floating_point() and tensor.is_floating_point()):
            return made
        if made.dtype.itemsize >= min(tensor.dtype.itemsize, torch.float32.itemsize):
            return made
        return tensor.to(device=made.device, dtype=torch.float32)

    return moved


def check_inventory(key: str, found: Leaves, wanted: Mapping[str, tuple[int, ...]], whole: bool = False) -> None:
    """Checks that an inventory has the sizes that a joining task needs; `whole`: and no other leaves.

    Raises:
        ValueError: it has others.
    """
    there = {name: tuple(leaf.shape) for name, leaf in found.held().items()}
    odd = [name for name, shape in wanted.items() if there.get(name) != shape]
    odd += [name for name in there if whole and name not in wanted]
    if odd:
        raise ValueError(
            f"the model's inventory {key!r} holds {there}, but this task wants {odd[0]!r} of shape "
            f"{wanted.get(odd[0], 'none')}: tasks that share an inventory share its sizes; leave rank, skills, splits, "
            "tensor_rank, order and targets as they are, or use a private method"
        )


def slashed(name: str) -> str:
    """A name with slashes for dots, for modules."""
    return name.replace(".", "/")


def dotted(name: str) -> str:
    return name.replace("/", ".")
