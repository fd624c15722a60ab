"""Methods whose ranks the training may choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from ..factors import Rank
from ..layers import Update, at_first, numbers_of
from ..routing import sharing
from ..tasks import Task
from ._base import Method
from ._rank_allocator import RankAllocator
from ._rank_policies import POLICIES, PolicyName, check_policy

HEADROOM = 2.0
"""A task's factors at the beginning of its training, as a multiple of its budget."""
DEFAULT: PolicyName = "gates"

AnyRank = Rank | Literal["auto"]


@dataclass(frozen=True, kw_only=True)
class Budgeted(Method):
    """A method with a rank at each layer, which a budget may replace (`rank="auto"`).

    Args:
        budget: with `rank="auto"`, the number of each task's parameters in factors after its training: an integer, or
            below 1 a share of the backbone's. The training begins with twice as many, and each layer of a trained task
            has its own rank, `{layer: rank}`.
        rank_policy: how components are chosen: `gates`, SoRA's (None: this); `importance`, AdaLoRA's; `gradients`,
            GoRA's.
    """

    budget: int | float | None = None
    rank_policy: PolicyName | None = None

    def __post_init__(self) -> None:
        auto, budget = self.is_auto, self.budget
        if auto and budget is None:
            raise ValueError("rank='auto' needs a budget: numbers of factors per task, or a share of the backbone's")
        for name, value in {"budget": budget, "rank_policy": self.rank_policy}.items():
            if value is not None and not auto:
                raise ValueError(
                    f"{name}={value!r} has no meaning for rank={self._rank!r}; choose rank='auto', or leave it out"
                )
        if auto:
            whole = isinstance(budget, int) and not isinstance(budget, bool) and budget >= 1
            if not whole and not (isinstance(budget, float) and 0 < budget < 1):
                raise ValueError(
                    "budget must be a whole number ≥ 1, or a share of the backbone above 0 and below 1, found "
                    f"{budget!r}"
                )
            if self.rank_policy is not None:
                check_policy(self.rank_policy)
            if (rule := sharing(getattr(self, "sharing", "private")).name) != "private":
                raise ValueError(
                    f"rank='auto' prunes a task's own factors, and sharing={rule!r} has factors in common; choose "
                    "sharing='private', or a rank"
                )
        super().__post_init__()

    @property
    def _rank(self) -> Any:
        return getattr(self, "rank", None)

    @property
    def is_auto(self) -> bool:
        """Whether the training chooses the ranks."""
        return isinstance(self._rank, str) and self._rank == "auto"

    @property
    def first_rank(self) -> Rank:
        """The rank that builds the factorisation before it meets a network."""
        return 1 if self.is_auto else self._rank

    def on(self, network: nn.Module, updates: Sequence[Update]) -> Sequence[Update]:
        """The updates with a new task's ranks on that network."""
        if not self.is_auto:
            return updates
        assert self.budget is not None
        return at_first(updates, network, self.budget, HEADROOM, self.frozen_stages)

    def rank_allocator(self, task: Task, backbone: nn.Module) -> RankAllocator | None:
        if not self.is_auto:
            return None
        assert self.budget is not None
        policy = POLICIES[self.rank_policy or DEFAULT]
        return RankAllocator(task, numbers_of(self.budget, backbone), policy)
