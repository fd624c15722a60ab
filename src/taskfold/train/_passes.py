"""The passes over the data that a training consists of: what each trains, and where each begins and ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from ._gradients import Gradients


@dataclass(frozen=True)
class Turn:
    """What a pass trains, and how.

    Attributes:
        gradients: how losses become gradients of what this pass trains.
        weights: factors on the tasks' losses, as reported.
        still: everything that trains in other passes; keeps its bits in this one.
        idle: numbers of the tasks that nothing of trains in this pass.
        name: for logs and the progress bar; empty where an epoch has one pass.
    """

    gradients: Gradients
    weights: Sequence[float]
    still: Sequence[Tensor] = ()
    idle: frozenset[int] = frozenset()
    name: str = ""


@dataclass(frozen=True)
class Pass:
    """One of the passes.

    Attributes:
        turn: what it trains.
        number: counted through the training, from 0.
        place: in its epoch, from 0.
        steps: how many.
    """

    turn: Turn
    number: int
    place: int
    steps: int


class Plan:
    """All passes: in the first epochs the first turn alone, then in every epoch each of them.

    Args:
        turns: in the order of an epoch.
        alone: epochs of the first turn alone.
        batches: steps of a whole pass.
        epochs: in all.
        max_steps: steps in all, instead of `epochs`; the last pass ends with them.

    Raises:
        ValueError: there are turns that never come.

    Example:
        >>> from unittest.mock import Mock
        >>> one, two = (Turn(Mock(), [], name=name) for name in ("one", "two"))
        >>> plan = Plan([one, two], alone=1, batches=4, epochs=2)
        >>> plan.steps, [(p.turn.name, p.number) for epoch in (0, 1) for p in plan.passes(epoch)]
        (12, [('one', 0), ('one', 1), ('two', 2)])
    """

    def __init__(
        self, turns: Sequence[Turn], alone: int, batches: int, epochs: int, max_steps: int | None = None
    ) -> None:
        self.turns, self.alone, self.batches = tuple(turns), alone, batches
        self.steps = self._before(epochs) if max_steps is None else max_steps
        beyond = self.steps - alone * batches
        if len(turns) > 1 and beyond <= (len(turns) - 1) * batches:
            raise ValueError(
                f"{self.steps} steps end before anything but {turns[0].name} has trained: an epoch has {len(turns)} "
                f"passes of {batches} steps, after {alone} epochs of {turns[0].name} alone; train longer, or lower "
                "alone_epochs"
            )
        whole = len(turns) * batches
        self.epochs = -(-self.steps // batches) if beyond <= 0 else alone + -(-beyond // whole)

    def passes(self, epoch: int) -> list[Pass]:
        """Those of an epoch, from 0."""
        turns = self.turns[:1] if epoch < self.alone else self.turns
        first = self._before(epoch) // self.batches
        return [
            Pass(turn, number, place, min(self.batches, self.steps - number * self.batches))
            for place, turn in enumerate(turns)
            if (number := first + place) * self.batches < self.steps
        ]

    def _before(self, epoch: int) -> int:
        """Steps of the epochs before that one."""
        alone = min(epoch, self.alone)
        return (alone + (epoch - alone) * len(self.turns)) * self.batches


@contextmanager
def still(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Run a block in which these gather no gradients."""
    before = [(tensor, tensor.requires_grad) for tensor in tensors]
    try:
        for tensor, _ in before:
            tensor.requires_grad_(False)
        yield
    finally:
        for tensor, trained in before:
            tensor.requires_grad_(trained)
