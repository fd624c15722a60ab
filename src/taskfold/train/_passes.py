"""The passes over the data that a training consists of: what each trains, and where each begins and ends."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor

from ..methods import Phase, epochs_of
from ._gradients import Gradients


@dataclass(frozen=True)
class Regime:
    """What a pass trains, and how: a turn of a phase, bound to the parameters of this training.

    Attributes:
        gradients: how losses become gradients of what this pass trains.
        weights: factors on the tasks' losses, as reported.
        still: everything that trains in other passes; keeps its bits in this one.
        idle: numbers of the tasks that nothing of trains in this pass.
        name: for logs and the progress bar; empty where every pass trains everything.
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
        regime: what it trains.
        number: counted through the training, from 0.
        place: in its epoch, from 0.
        steps: how many.
    """

    regime: Regime
    number: int
    place: int
    steps: int


class Plan:
    """All passes: the phases in order, in every epoch of a phase each of its turns.

    Args:
        phases: in order.
        regimes: of each phase, those of its turns.
        batches: steps of a whole pass.
        epochs: in all.
        max_steps: steps in all, instead of `epochs`; the last pass ends with them.

    Raises:
        ValueError: the phases do not make so many epochs or steps, or some turns never come.

    Example:
        >>> from unittest.mock import Mock
        >>> one, two = (Regime(Mock(), [], name=name) for name in ("one", "two"))
        >>> plan = Plan([Phase(epochs=1), Phase()], [[one], [one, two]], batches=4, epochs=2)
        >>> plan.steps, [(p.regime.name, p.number) for epoch in (0, 1) for p in plan.passes(epoch)]
        (12, [('one', 0), ('one', 1), ('two', 2)])
    """

    def __init__(
        self,
        phases: Sequence[Phase],
        regimes: Sequence[Sequence[Regime]],
        batches: int,
        epochs: int,
        max_steps: int | None = None,
    ) -> None:
        self.regimes, self.batches = [list(own) for own in regimes], batches
        each = [len(own) * batches for own in regimes]
        lasting = epochs_of(phases, epochs if max_steps is None else _epochs(phases, each, max_steps))
        self._epochs = [0, *accumulate(lasting)]
        self._steps = [0, *accumulate(n * steps for n, steps in zip(lasting, each, strict=True))]
        self.steps = self._steps[-1] if max_steps is None else max_steps
        for number, own in enumerate(self.regimes):
            never = [one for place, one in enumerate(own) if self._steps[number] + place * batches >= self.steps]
            if never:
                raise ValueError(
                    f"the training's {self.steps} steps end before {never[0].name or 'everything'} has trained, in "
                    f"phase {number + 1} of {len(own)} passes of {batches} steps in each epoch; train longer, or let "
                    "the phases be shorter"
                )
        last = self.steps - self._steps[-2]
        self.epochs = self._epochs[-2] - (-last // each[-1])

    def passes(self, epoch: int) -> list[Pass]:
        """Those of an epoch, from 0."""
        phase = self._phase(epoch)
        own, inside = self.regimes[phase], epoch - self._epochs[phase]
        first = self._steps[phase] // self.batches + inside * len(own)
        return [
            Pass(regime, number, place, min(self.batches, self.steps - number * self.batches))
            for place, regime in enumerate(own)
            if (number := first + place) * self.batches < self.steps
        ]

    def in_last_phase(self, epoch: int) -> bool:
        """Whether an epoch, from 0, is of the last phase."""
        return self._phase(epoch) == len(self.regimes) - 1

    def learned(self) -> list[float]:
        """The factors of the tasks' losses where they are learned; empty: they are not."""
        return next((found for own in self.regimes for one in own if (found := one.gradients.learned())), [])

    def _phase(self, epoch: int) -> int:
        return min(bisect_right(self._epochs, epoch), len(self.regimes)) - 1


def _epochs(phases: Sequence[Phase], each: Sequence[int], max_steps: int) -> int:
    """Epochs, the last perhaps cut short, that so many steps make; `each`: steps of an epoch of each phase."""
    said = sum(phase.epochs or 0 for phase in phases)
    steps = sum((phase.epochs or 0) * own for phase, own in zip(phases, each, strict=True))
    for phase, own in zip(phases, each, strict=True):
        if phase.epochs is None:
            return said + max(1, -((steps - max_steps) // own))
    if steps < max_steps:
        raise ValueError(
            f"phases say {said} epochs, which make {steps} steps, and max_steps={max_steps}; lower it, or leave the "
            "epochs of one phase open"
        )
    return said


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
