"""What a compiler asks when it traces a mixed batch."""

from __future__ import annotations

import warnings
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from ..tasks import Task
from ._looking import Looking
from ._rows import Batch

LOOKING: WeakValueDictionary[str, Looking] = WeakValueDictionary()
"""By number: a compiler hands on numbers, and no objects."""


@torch.compiler.assume_constant_result
def hooked(number: str) -> bool:
    """Whether hooks of the user's are registered; what was found is forgotten where a switch has been turned since."""
    one = LOOKING[number]
    if one.watch is not None and one.watch.switches.changed():
        one._forget_rows()
    return bool(one.hooks.now()[0])


@torch.compiler.assume_constant_result
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
