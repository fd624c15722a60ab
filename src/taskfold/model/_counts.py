"""Counts of the numbers in a task's file: values, and other storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn

from ..layers import own_groups, stored_of
from ..tasks import Task


def count_task(task: Task) -> dict[str, int]:
    """The numbers in a task's file by group: values, then `bits` and `indices` that it keeps instead of values.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> model = tfold.MultiTask(nn.Linear(16, 4), tfold.Piggyback())
        >>> count_task(model.add_task("flowers"))
        {'bits': 64}
    """
    counts, apart = counts_apart(task)
    return {group: number for group, number in (counts | apart).items() if number}


def counts_apart(task: Task) -> tuple[dict[str, int], dict[str, int]]:
    """The numbers of each group that a file keeps as values, and those that it keeps otherwise: bits, indices."""
    counts, held, groups = task.counts(), dict(task.named_parameters()), own_groups(task)
    apart: dict[str, int] = {}
    for name, how in stored_of(task).items():
        if name not in held or not how.counted:
            continue  # a leaf that several layers share counts under its first name
        apart[how.counted] = apart.get(how.counted, 0) + how.size(held[name])
        leave_out(counts, groups[name].name, held[name].numel())
    return counts, apart


def leave_out(counts: dict[str, int], group: str, numbers: int) -> None:
    """Subtracts numbers from a group's count; an empty group is removed, except the four standard ones."""
    counts[group] -= numbers
    if not counts[group] and group not in ("factors", "routing", "norm", "head"):
        del counts[group]


def outlined(backbone: nn.Module, names: Iterable[str], said: Callable[[str], str]) -> tuple[str, list[str]]:
    """The backbone's class and size with the number of tasks, and what is said of each of at most ten of them."""
    size, every = sum(p.numel() for p in backbone.parameters()), [*names]
    more = [f"… and {len(every) - 10} more"] if len(every) > 10 else []
    tasks = f"{len(every)} task{'s' * (len(every) != 1)}"
    return f"{type(backbone).__name__} of {size:,} parameters, {tasks}", [*map(said, every[:10]), *more]
