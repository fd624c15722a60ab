"""Detects a training that has collapsed though its loss is finite, and suggests a learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SAMPLES, STEPS = 32, 10
"""Samples, at least, whose mean loss is the baseline; and steps that must follow before a collapse is reported."""
WEIGHT = 0.1
"""Weight of a step in the running mean of its task's losses."""
RISEN, RISEN_UNKNOWN = 1.5, 3.0
"""Times the baseline, or chance if that is more, at which a loss is a collapse; the second if chance is unknown."""
SAME, RIGHT = 0.99, 0.9
"""Predictions count as constant if this share is of one class, unless the second share of them is right."""
NEAR, PEAK, LOST = 0.9, 1.3, 0.7
"""Times the lower of baseline and chance: below, it has learned; times the higher: a peak; times the loss: a low."""
DEAD = 1e-4
"""Spread of outputs, in nats, below which the network no longer depends on its inputs."""


class CollapseWarning(UserWarning):
    """A training no longer learns though its loss is finite: its learning rates are too high."""


@dataclass(frozen=True)
class Predicted:
    """Statistics of a task's predictions in validation.

    Attributes:
        share: the share of the most frequent class.
        chance: the loss of equal probabilities, the logarithm of the number of classes.
        spread: the standard deviation over samples of the largest output's distance from the mean output.
    """

    share: float
    chance: float
    spread: float


@dataclass
class Watched:
    """Statistics of a task's training losses, as JSON values.

    Attributes:
        first: the mean loss over the first steps, with `samples` samples; `steps` steps followed.
        recent: a running mean over steps; `peak`, `least`: its extremes.
        said: the collapse was reported; it is reported once.
    """

    first: float = 0.0
    samples: float = 0.0
    steps: int = 0
    recent: float = 0.0
    peak: float = 0.0
    least: float = 0.0
    said: bool = False

    def step(self, loss: float, samples: float) -> None:
        """Record a step with `samples` samples of the task, whose losses sum to `loss`."""
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
        """The sign, at the end of an epoch, that the training has collapsed; None: it has not.

        Either the loss, in training and in validation, is well above that of the first steps and of chance. Or nearly
        all validation samples get one class, the loss is that of chance, and it has been higher or lower before, or
        the outputs are the same for all: a training that has not begun to learn has not collapsed.

        Args:
            val_loss, accuracy: the validation's.
            predicted: its predictions; None: the task is not a classification.

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
    return ", ".join(f"{group} {rate:.3g}" for group, rate in optimisers.items())


def slower(tops: Mapping[str, float]) -> str:
    """Advice for learning rates, by group of parameters, that were too high.

    Example:
        >>> slower({"head": 0.03})
        'try a third of what was set (head 0.01), lengthen warmup or set clip_norm'
    """
    third = ", ".join(f"{group} {top / 3:.2g}" for group, top in tops.items())
    return f"try a third of what was set ({third}), lengthen warmup or set clip_norm"
