"""What was measured between tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ._affinity_settings import Measure
from ._grouping import best_groups, predicted_gain

Matrix = tuple[tuple[float, ...], ...]


class Gains(BaseModel):
    """A number for each ordered pair of tasks.

    Attributes:
        mean: `[T][T]`, over the measurements: row i is a step for task i, column j what it does to task j.
        half: `[T][T]`, half of an interval around it: two standard errors over the measurements.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: Matrix
    half: Matrix

    @classmethod
    def over(cls, measured: Tensor) -> Self:
        """Of measurements `[K, T, T]`; what is not a number was not measured."""
        count = measured.isfinite().sum(0)
        mean = measured.nanmean(0)
        spread = (measured - mean).square().nansum(0) / (count - 1).clamp_min(1)
        return cls(mean=_rows(mean), half=_rows(2 * (spread / count).sqrt()))

    def pair(self, i: int, j: int) -> tuple[float, float]:
        """Of both directions together: the mean of their sum, and half of its interval."""
        return self.mean[i][j] + self.mean[j][i], math.hypot(self.half[i][j], self.half[j][i])


class Affinity(BaseModel):
    """Which tasks help and which hurt one another, as `affinity` measures it.

    A gain is the share of task j's loss that task i's part of a joint step takes away: 0.01 lowers it by a percent,
    −0.01 raises it. Diagonals are a task's own step, on other samples than the loss.

    Attributes:
        tasks: names; rows and columns are in this order.
        losses: of each task, mean over the measurements.
        linear: gains to first order: the step's inner product with task j's gradient (Fifty et al. 2021).
        lookahead: gains of a step that was taken and looked at; None: none was.
        cosine: between the two gradients, from −1 to 1; below 0 they conflict (Yu et al. 2020).
        by, count: what groups gain by, and how many are proposed, unless something else is asked for.
        steps, measurements: of the short joint training, and how many fell into it.
        seconds: it took.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, ...]
    losses: tuple[float, ...]
    linear: Gains
    lookahead: Gains | None
    cosine: Gains
    by: Measure
    count: int | None
    steps: int
    measurements: int
    seconds: float

    def gains(self, by: Measure | None = None) -> Gains:
        """One of the three measures, or that which groups gain by.

        Raises:
            ValueError: it was not measured.
        """
        found = getattr(self, by or self.by)
        if found is None:
            raise ValueError(f"by={by!r} was not measured; measure with lookahead=True")
        return found

    def groups(self, count: int | None = None, by: Measure | None = None) -> list[list[str]]:
        """The proposed grouping: that of largest predicted gain.

        Args:
            count: how many groups; None: as was set, or as many as gain most.
            by: the measure; None: as was set.

        Raises:
            ValueError: there cannot be so many groups, or the measure was not taken.
        """
        found = best_groups(self.gains(by).mean, self.count if count is None else count)
        return [[self.tasks[n] for n in group] for group in found]

    def predicted(self, groups: Sequence[Sequence[str]], by: Measure | None = None) -> float:
        """What tasks of one group gain from one another in a step of each, added up; 0: each by itself."""
        numbers = {name: n for n, name in enumerate(self.tasks)}
        return predicted_gain(self.gains(by).mean, [[numbers[name] for name in group] for group in groups])

    def conflicts(self, by: Measure | None = None) -> list[tuple[str, str]]:
        """Pairs that hurt one another, the interval of both directions together below 0; the worst first."""
        return self._pairs(by, -1)

    def helpers(self, by: Measure | None = None) -> list[tuple[str, str]]:
        """Pairs that help one another, the interval of both directions together above 0; the best first."""
        return self._pairs(by, 1)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON, and the proposed groups."""
        return {**self.model_dump(mode="json"), "groups": self.groups()}

    def _pairs(self, by: Measure | None, sign: int) -> list[tuple[str, str]]:
        gains, found = self.gains(by), list[tuple[float, str, str]]()
        for j, second in enumerate(self.tasks):
            for i, first in enumerate(self.tasks[:j]):
                mean, half = gains.pair(i, j)
                if sign * mean > half:
                    found.append((-sign * mean, first, second))
        return [(first, second) for _, first, second in sorted(found)]


def affinity_over(
    tasks: Sequence[str], losses: Sequence[Tensor], seen: dict[str, list[Tensor]], **more: Any
) -> Affinity:
    """The means over all measurements.

    Args:
        tasks: names.
        losses: of each measurement `[T]`.
        seen: by measure, of each measurement `[T, T]`: gains as differences of the loss, and cosines.
        more: of `Affinity`.

    Raises:
        ValueError: no sample of a task had a target.
    """
    loss = torch.stack(list(losses)).nanmean(0)
    for name, value in zip(tasks, loss.tolist(), strict=True):
        if not math.isfinite(value):
            raise ValueError(
                f"task {name!r}: none of the drawn samples has a target for it, or its loss is no finite number; "
                "leave it out, or lower the learning rates"
            )
    unit = loss.abs().clamp_min(torch.finfo(loss.dtype).tiny)
    found = {
        measure: Gains.over(torch.stack(each) / (1 if measure == "cosine" else unit)) if each else None
        for measure, each in seen.items()
    }
    return Affinity(tasks=tuple(tasks), losses=tuple(loss.tolist()), **found, **more)


def _rows(matrix: Tensor) -> Matrix:
    return tuple(map(tuple, matrix.nan_to_num(0.0, 0.0, 0.0).tolist()))
