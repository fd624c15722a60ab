"""What a task's file holds: values, and what it keeps in place of values."""

from __future__ import annotations

from ..layers import own_groups, stored_of
from ..tasks import Task


def count_task(task: Task) -> dict[str, int]:
    """What a task's file holds, by group: values, then `bits` and `indices` where a file keeps those and no values.

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
    """Numbers of each group that a file keeps as values; and what it keeps of a task that is no value: bits, places."""
    counts, held, groups = task.counts(), dict(task.named_parameters()), own_groups(task)
    apart: dict[str, int] = {}
    for name, how in stored_of(task).items():
        if name not in held or not how.counted:
            continue  # several layers have it in common: it counts under its first name
        apart[how.counted] = apart.get(how.counted, 0) + how.size(held[name])
        leave_out(counts, groups[name].name, held[name].numel())
    return counts, apart


def leave_out(counts: dict[str, int], group: str, numbers: int) -> None:
    """Count so many numbers of a group less; a group that is there for them alone goes."""
    counts[group] -= numbers
    if not counts[group] and group not in ("factors", "routing", "norm", "head"):
        del counts[group]
