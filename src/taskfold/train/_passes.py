"""The passes over the data of a training: what each trains, where each begins and ends."""

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
    """What a pass trains, and how: a turn of a phase, bound to this training's parameters.

    Attributes:
        gradients: makes gradients from losses.
        weights: factors on the tasks' losses, as reported.
        still: parameters that train in other passes and keep their bits in this one.
        idle: numbers of the tasks without a trained parameter in this pass.
        name: for logs and the progress bar; empty if every pass trains everything.
    """

    gradients: Gradients
    weights: Sequence[float]
    still: Sequence[Tensor] = ()
    idle: frozenset[int] = frozenset()
    name: str = ""


@dataclass(frozen=True)
class Pass:
    """A pass over the data.

    Attributes:
        regime: what the pass trains.
        number: its number in the training, from 0.
        place: its number in its epoch, from 0.
        steps: its number of steps.
    """

    regime: Regime
    number: int
    place: int
    steps: int


class Plan:
    """All passes: the phases in order; each epoch of a phase has a pass for each of its turns.

    Args:
        phases: the phases, in order.
        regimes: for each phase, the regimes of its turns.
        batches: the steps of a whole pass.
        epochs: the number of epochs.
        max_steps: the number of steps, instead of `epochs`; the last pass ends with it.

    Raises:
        ValueError: the phases have another number of epochs or steps, or the training ends before some turn.

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
        """The passes of an epoch, counted from 0."""
        phase = self._phase(epoch)
        own, inside = self.regimes[phase], epoch - self._epochs[phase]
        first = self._steps[phase] // self.batches + inside * len(own)
        return [
            Pass(regime, number, place, min(self.batches, self.steps - number * self.batches))
            for place, regime in enumerate(own)
            if (number := first + place) * self.batches < self.steps
        ]

    def in_last_phase(self, epoch: int) -> bool:
        """Whether an epoch, counted from 0, is in the last phase."""
        return self._phase(epoch) == len(self.regimes) - 1

    def learned(self) -> list[float]:
        """The learned factors on the tasks' losses; empty: the factors are fixed."""
        return next((found for own in self.regimes for one in own if (found := one.gradients.learned())), [])

    def _phase(self, epoch: int) -> int:
        return min(bisect_right(self._epochs, epoch), len(self.regimes)) - 1


def _epochs(phases: Sequence[Phase], each: Sequence[int], max_steps: int) -> int:
    """The number of epochs, the last perhaps cut short, for `max_steps`; `each`: steps of an epoch of each phase."""
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
    """Run a block in which these tensors gather no gradients."""
    before = [(tensor, tensor.requires_grad) for tensor in tensors]
    try:
        for tensor, _ in before:
            tensor.requires_grad_(False)
        yield
    finally:
        for tensor, trained in before:
            tensor.requires_grad_(trained)
