"""The interface of allocators, which reduce a task's numbers while it trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any


class Allocator(ABC):
    """Decides during a training which of a task's components remain.

    Attributes:
        settled: whether the remaining components are decided; the best epoch is chosen after that.
        budget: the numbers that may remain, or that the allocator chooses from.
    """

    settled: bool
    budget: int

    @property
    @abstractmethod
    def numbers(self) -> int:
        """How many numbers remain, as far as decided."""

    def check(self, others: Mapping[str, Allocator]) -> None:  # noqa: B027  a hook, not an omission
        """Check that it can train beside other tasks' allocators, by name.

        Raises:
            ValueError: it can't.
        """

    @abstractmethod
    def step(self, step: int, steps: int) -> None:
        """Update after a step of the optimisers, before the gradients are cleared.

        Args:
            step: the step's number, from 0.
            steps: the number of steps of the training.
        """

    @abstractmethod
    def finish(self) -> dict[str, int]:
        """Reduce the task after its training; returns the size that remains of each layer. May be called again."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """The state that the next step depends on, besides the task."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume."""
