"""What a compiler asks when it traces a mixed batch."""

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
"""By number: a compiler hands on numbers, and no objects."""


def _constant(asked: Callable[..., bool]) -> Callable[..., bool]:
    """What `torch.compiler.assume_constant_result` makes of a function, without importing the compiler for it."""
    asked._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return asked


def untraced(reason: str) -> Callable[[Pass], Pass]:
    """What `torch.compiler.disable` makes of a function; the compiler is imported when it is first called."""

    def wrap(function: Pass) -> Pass:
        made = torch._disable_dynamo(function)
        made._torchdynamo_disable, made._torchdynamo_disable_msg = True, reason  # type: ignore[attr-defined]
        return made

    return wrap


@_constant
def hooked(number: str) -> bool:
    """Whether hooks of the user's are registered; what was found is forgotten where a switch has been turned since."""
    one = LOOKING[number]
    if one.watch is not None and one.watch.switches.changed():
        one._forget_rows()
    return bool(one.hooks.now()[0])


@_constant
def look_traced(
    number: str,
    method: str,
    rows: int | Tensor,
    training: bool,
    positional: int,
    names: tuple[str, ...],
    *values: Any,
) -> bool:
    """Looks what layers see of a batch that a compiler traces, which calls this with its numbers and keeps the answer.

    Returns:
        Whether the batch can be answered as one.
    """
    args, kwargs = values[:positional], dict(zip(names, values[positional:], strict=True))
    batch = Batch.of(args, kwargs, len(rows) if isinstance(rows, Tensor) else rows)
    known = LOOKING[number].known(batch, method, training, traced=True)
    return not (known.trouble or known.chosen or known.decisions)


def report_unused(network: nn.Module, task: Task) -> None:
    """A task that adapts layers which a forward pass never calls would be a silent no-op."""
    unused = [path for path in task.sites if not network.get_submodule(path).__dict__["forward"].ran]
    if unused:
        warnings.warn(
            f"task {task.name!r} adapts {len(unused)} layers that this forward pass never called, to no effect: "
            f"{', '.join(unused[:5])}; leave them out with targets=('*', '!{unused[0]}')",
            stacklevel=8,
        )
