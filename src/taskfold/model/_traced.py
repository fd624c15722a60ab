"""Functions that a compiler calls when it traces a mixed batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from ..tasks import Task
from ._looking import Looking
from ._rows import Batch

Pass = Callable[..., Any]
LOOKING: WeakValueDictionary[str, Looking] = WeakValueDictionary()
"""By number, since compiled code passes numbers and no objects."""


def _constant(asked: Callable[..., bool]) -> Callable[..., bool]:
    """`torch.compiler.assume_constant_result`, without importing the compiler."""
    asked._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return asked


def untraced(reason: str) -> Callable[[Pass], Pass]:
    """`torch.compiler.disable`, but the compiler is imported at the first call."""

    def wrap(function: Pass) -> Pass:
        made = torch._disable_dynamo(function)
        made._torchdynamo_disable, made._torchdynamo_disable_msg = True, reason  # type: ignore[attr-defined]
        return made

    return wrap


@_constant
def hooked(number: str) -> bool:
    """Whether the user has hooks registered; also forgets layouts if a switch of the network has changed."""
    one = LOOKING[number]
    if one.watch is not None and one.watch.switches.changed():
        one._forget_rows()
    return bool(one.hooks.now()[0])


@_constant
def look_traced(
    number: str, method: str, rows: int | Tensor, training: bool, positional: int, names: tuple[str, ...], *values: Any
) -> bool:
    """Locates a traced batch's rows; returns whether one pass can answer it. Compiled code keeps the answer."""
    args, kwargs = values[:positional], dict(zip(names, values[positional:], strict=True))
    batch = Batch.of(args, kwargs, len(rows) if isinstance(rows, Tensor) else rows)
    known = LOOKING[number].known(batch, method, training, traced=True)
    return not (known.trouble or known.chosen or known.decisions)


@_constant
def keeps_traced(
    number: str,
    method: str,
    training: bool,
    paths: tuple[str, ...],
    positional: int,
    names: tuple[str, ...],
    *values: Any,
) -> bool:
    """Whether a network keeps what a pass of these tasks must not find, for which graphs have no place."""
    args, kwargs = values[:positional], dict(zip(names, values[positional:], strict=True))
    return LOOKING[number].keeps(method, training, paths, args, kwargs)


def report_unused(network: nn.Module, task: Task) -> None:
    """Warns of adapted layers that a forward pass never called: the task has no effect there."""
    unused = [path for path in task.sites if not network.get_submodule(path).__dict__["forward"].ran]
    if unused:
        warnings.warn(
            f"task {task.name!r} adapts {len(unused)} layers that this forward pass never called, to no effect: "
            f"{', '.join(unused[:5])}; leave them out with targets=('*', '!{unused[0]}')",
            stacklevel=8,
        )
