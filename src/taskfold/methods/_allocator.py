"""What brings the numbers of a task down while it trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any


class Allocator(ABC):
    """Decides during a training what of a task remains when it is over.

    Attributes:
        settled: whether it is known what remains; the best epoch is one of those after that.
        budget: numbers that it has to choose from, or that may remain.
    """

    settled: bool
    budget: int

    @property
    @abstractmethod
    def numbers(self) -> int:
        """How many remain, as far as it is known."""

    def check(self, others: Mapping[str, Allocator]) -> None:  # noqa: B027  a hook, not an omission
        """Whether it can train beside those of other tasks, by their names.

        Raises:
            ValueError: it can't.
        """

    @abstractmethod
    def step(self, step: int, steps: int) -> None:
        """After a step of the optimisers, while the gradients are there.

        Args:
            step: from 0.
            steps: of the whole training.
        """

    @abstractmethod
    def finish(self) -> dict[str, int]:
        """After the training: leave of the task what remains; how much that is, by layer. May be called again."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on beside the task."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
