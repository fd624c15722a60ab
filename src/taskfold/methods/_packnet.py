from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from ..factors import check_number
from ..kinds import Patterns
from ..layers import Composition, Owned, Owners, Statistics, Weights, own_norms, owned_in
from ..tasks import Task
from ._allocator import Allocator
from ._base import Method

__all__ = ["PackNet"]


@dataclass(frozen=True)
class PackNet(Method):
    """One common weight whose entries are divided among tasks, one after the other: W_t = P ⊙ 1[1 ≤ owner ≤ t].

    Mallya and Lazebnik, "PackNet: Adding Multiple Tasks to a Single Network by Iterative Pruning", section 3. P is in
    the model's inventory and starts as a copy of the backbone's weight. A task trains the entries that are free; at
    `pruned_at` of its training the smallest of them become free again, layer by layer, and the others continue; when
    the training ends they are the task's, and no other task moves them. Tasks train one after the other, and
    are removed in reverse order.

    Args:
        prune: the share of its entries that a task gives back, 0 ≤ prune < 1; the last task's may be 0.
        pruned_at: the time of pruning, as a share of the training, above 0 and below 1.
        source: the share of the backbone's own entries that is free for the first task, 0 ≤ source < 1; the rest is
            the backbone's for ever, as in the paper, which prunes 0.5 of it (and trains it again). 0: it owns none, so
            that the first task starts at the backbone with all of its entries. The first task's setting holds.
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        norm: each task also trains its own normalisation.
        statistics: as for `FTN`.

    Raises:
        ValueError: a setting is out of its range; when a task trains, another has taken entries since its values were
            written.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> method = tfold.PackNet(prune=0.75)
        >>> model = tfold.MultiTask(net, method, num_features=8)
        >>> task = model.add_task("flowers", head=5)
        >>> method.pack(task)  # what the end of a training does: 8 · 3 · 3 · 3 weights, of which a quarter stays
        {'0.weight': 54}
    """

    prune: float = 0.75
    pruned_at: float = 2 / 3
    source: float = 0.0
    targets: Patterns = "*"
    norm: bool = False
    statistics: Statistics = "backbone"
    name: ClassVar[str] = "packnet"

    def __post_init__(self) -> None:
        for name in ("prune", "source"):
            check_number(name, getattr(self, name), "from 0 and below 1", lambda share: 0 <= share < 1)
        check_number("pruned_at", self.pruned_at, "above 0 and below 1", lambda share: 0 < share < 1)
        super().__post_init__()

    @property
    def parts(self) -> tuple[Owners]:
        return (Owners(Weights(self.targets), self.source),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition((*self.parts, *own_norms(self.norm, self.statistics)))

    def rank_allocator(self, task: Task, backbone: nn.Module) -> Allocator | None:
        shares = owned_in(task)
        return Pruner(task, self.prune, self.pruned_at) if any(one.is_open for one in shares.values()) else None

    def pack(self, task: Task) -> dict[str, int]:
        """Prune a task and make its entries its own, as the end of a training does; returns their number by layer.

        For a task that the user's own loop trains.

        Raises:
            ValueError: another task has taken entries since this one's values were written, or this one has its own
                already.
        """
        if not any(one.is_open for one in owned_in(task).values()):
            raise ValueError(f"task {task.name!r} is packed already: its entries are its own; add a new task to go on")
        return Pruner(task, self.prune, self.pruned_at).finish()


class Pruner(Allocator):
    """Prunes a task in the middle of its training, and closes it at the end.

    Args:
        task: a task with open shares.
        share: the share of its entries that it gives back.
        begin: the time of pruning, as a share of the training.

    Raises:
        ValueError: another task has taken entries since this one's values were written.
    """

    def __init__(self, task: Task, share: float, begin: float) -> None:
        self.task, self.share, self.begin = task, share, begin
        self.shares: dict[str, Owned] = owned_in(task)
        if any(one.taken_since() for one in self.shares.values()):
            if not all(one.is_untouched for one in self.shares.values()):
                raise ValueError(
                    f"task {task.name!r} has values from before another task took entries of the common weight; remove "
                    "it and add it again, so that it stands on these"
                )
            last = max(int(one.held[1].max()) for one in self.shares.values())
            for one in self.shares.values():
                one.begin_after(last)
        self.settled = not share
        self.budget = sum(one.held[0].numel() for one in self.shares.values())
        self.closed: dict[str, int] | None = None

    @property
    def numbers(self) -> int:
        return sum((self.closed or {}).values())

    def check(self, others: Mapping[str, Allocator]) -> None:
        theirs = [one.task.name for one in others.values() if isinstance(one, Pruner)]
        if len(theirs) > 1:
            raise ValueError(
                f"tasks {', '.join(map(repr, theirs))} share out the entries of one weight and train one after the "
                "other: train each alone, and add the next one then"
            )

    def step(self, step: int, steps: int) -> None:
        if not self.settled and (step + 1) / steps >= self.begin:
            self._settle()

    def _settle(self) -> None:
        if not self.settled:
            for one in self.shares.values():
                one.prune(self.share)
            self.settled = True

    def finish(self) -> dict[str, int]:
        if self.closed is None:
            self._settle()
            self.closed = {name: one.close() for name, one in self._open()}
        return self.closed

    def _open(self) -> list[tuple[str, Owned]]:
        return [(name, one) for name, one in self.shares.items() if one.is_open]

    def state_dict(self) -> dict[str, Any]:
        kept = {name: one.kept for name, one in self.shares.items() if one.kept is not None}
        entries = {} if self.closed is None else {name: one.filed() for name, one in self.shares.items()}
        return {"settled": self.settled, "kept": kept, "entries": entries}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.settled = state["settled"]
        for name, one in self.shares.items():
            if name in state["kept"]:
                one.kept = state["kept"][name].to(one.held[0].device, torch.bool)
            if name in state["entries"]:
                one.take(**state["entries"][name])
        if state["entries"]:
            self.closed = {name: len(own["index"]) for name, own in state["entries"].items()}
