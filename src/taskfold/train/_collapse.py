"""Trainings that have collapsed while their loss stays finite: noticed, and said with the rate to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SAMPLES, STEPS = 32, 10
"""Of the first steps that all later ones are compared with, at least; and how many follow before a collapse is said."""
WEIGHT = 0.1
"""Of a step in the running mean of its task's losses."""
RISEN, RISEN_UNKNOWN = 1.5, 3.0
"""Times the loss at first, or of chance: collapsed. The second where nobody knows what chance is."""
SAME, RIGHT = 0.99, 0.9
"""Share of samples in one class: constant predictions; unless so many of them are right."""
NEAR, PEAK, LOST = 0.9, 1.3, 0.7
"""Times the loss of chance: nothing is known; times that at first: it had risen; times the loss now: it had fallen."""
DEAD = 1e-4
"""Nats by which the outputs of a network differ that no longer sees its inputs."""


class CollapseWarning(UserWarning):
    """A training no longer learns, though its loss is finite: the learning rates are too high."""


@dataclass(frozen=True)
class Predicted:
    """What a task says to its validation samples.

    Attributes:
        share: of the class that is said most often.
        chance: the loss of equal probabilities, the logarithm of the number of classes.
        spread: standard deviation over samples of how far the largest output is above the mean output.
    """

    share: float
    chance: float
    spread: float


@dataclass
class Watched:
    """The training losses of a task; JSON all through.

    Attributes:
        first: their mean over the first steps, of so many `samples`; there have been so many `steps` since.
        recent: a running mean over steps; `peak`, `least`: its extremes.
        said: a collapse has been, which is said once.
    """

    first: float = 0.0
    samples: float = 0.0
    steps: int = 0
    recent: float = 0.0
    peak: float = 0.0
    least: float = 0.0
    said: bool = False

    def step(self, loss: float, samples: float) -> None:
        """A step, with so many samples of the task, whose losses add up to `loss`."""
        if not samples:
            return
        if self.samples < SAMPLES:
            self.first = (self.first * self.samples + loss) / (self.samples + samples)
            self.samples += samples
            self.recent = self.peak = self.least = self.first
            return
        self.steps += 1
        self.recent += WEIGHT * (loss / samples - self.recent)
        self.peak, self.least = max(self.peak, self.recent), min(self.least, self.recent)

    def collapsed(self, val_loss: float, accuracy: float, predicted: Predicted | None) -> str | None:
        """What shows, at the end of an epoch, that the training has collapsed; None: it has not.

        Either the loss, in training and in validation, is well above that of the first steps and of chance. Or nearly
        all validation samples get one class, the loss is that of chance, and it has been higher or lower before, or
        the outputs are the same for all: a training that has not begun to learn is none that has collapsed.

        Args:
            val_loss, accuracy: of the validation.
            predicted: what was said in it; None: the task is no classification.

        Example:
            >>> watched = Watched(first=2.3, samples=32, steps=40, recent=2.3, peak=9.1, least=2.2)
            >>> watched.collapsed(2.31, 0.1, Predicted(share=1.0, chance=2.303, spread=0.1))
            'one class is predicted for 100 % of the validation samples, after the loss had risen from 2.3 to 9.1'
            >>> watched.peak = 2.4  # it never left the loss of chance
            >>> watched.collapsed(2.31, 0.1, Predicted(share=1.0, chance=2.303, spread=0.1))
        """
        usual = max(self.first, predicted.chance if predicted else 0.0)
        if usual <= 0 or self.steps < STEPS:
            return None
        if min(self.recent, val_loss) > (RISEN if predicted else RISEN_UNKNOWN) * usual:
            than = f", and chance has {predicted.chance:.3g}" if predicted else ""
            return f"the loss has risen from {self.first:.3g} to {self.recent:.3g} (validation: {val_loss:.3g}{than})"
        if predicted is None or predicted.share < SAME or accuracy > RIGHT:
            return None
        if self.recent < NEAR * min(self.first, predicted.chance):
            return None
        one = f"one class is predicted for {100 * predicted.share:.0f} % of the validation samples"
        if self.peak > PEAK * usual:
            return f"{one}, after the loss had risen from {self.first:.3g} to {self.peak:.3g}"
        if self.least < LOST * self.recent:
            return f"{one}, and the loss, {self.recent:.3g}, had been {self.least:.3g}"
        if predicted.spread < DEAD:
            return f"{one}, whose outputs are the same for all of them"
        return None


def rates(optimisers: Mapping[str, float]) -> str:
    """Learning rates by group, in words."""
    return ", ".join(f"{group} {rate:.3g}" for group, rate in optimisers.items())


def slower(tops: Mapping[str, float]) -> str:
    """What to try where learning rates, by group of parameters, were too high.

    Example:
        >>> slower({"head": 0.03})
        'try a third of what was set (head 0.01), lengthen warmup or set clip_norm'
    """
    third = ", ".join(f"{group} {top / 3:.2g}" for group, top in tops.items())
    return f"try a third of what was set ({third}), lengthen warmup or set clip_norm"
