"""Measured affinities between tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self, get_args

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ._affinity_settings import Measure
from ._grouping import best_groups, predicted_gain

Matrix = tuple[tuple[float, ...], ...]


class Gains(BaseModel):
    """Means and confidence intervals of a measure for each ordered pair of tasks.

    Attributes:
        mean: `[T][T]`, over the measurements; row i is a step for task i, column j its effect on task j.
        half: `[T][T]`, half the width of an interval around the mean: two standard errors over the measurements.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: Matrix
    half: Matrix

    @classmethod
    def over(cls, measured: Tensor) -> Self:
        """The gains over measurements `[K, T, T]`; NaN marks a missing measurement."""
        count = measured.isfinite().sum(0)
        mean = measured.nanmean(0)
        spread = (measured - mean).square().nansum(0) / (count - 1).clamp_min(1)
        return cls(mean=_rows(mean), half=_rows(2 * (spread / count).sqrt()))

    def pair(self, i: int, j: int) -> tuple[float, float]:
        """The mean of the sum of both directions, and half the width of its interval."""
        return self.mean[i][j] + self.mean[j][i], math.hypot(self.half[i][j], self.half[j][i])


class Affinity(BaseModel):
    """The gains between tasks that `affinity` has measured: which tasks help, which hurt one another.

    A gain is the share of task j's loss that task i's part of a joint step takes away: 0.01 lowers it by a percent,
    −0.01 raises it. The diagonal is a task's own step; its loss is measured on other samples.

    Attributes:
        tasks: the names; rows and columns are in this order.
        losses: each task's loss, the mean over the measurements.
        linear: gains to first order: the step's inner product with task j's gradient (Fifty et al. 2021).
        lookahead: gains measured by taking the step and evaluating the losses; None: not measured.
        cosine: cosine between the two gradients, from −1 to 1; below 0 they conflict (Yu et al. 2020).
        by, count: the default measure and number of groups of `groups`.
        steps, measurements: how many steps the short joint training had, and how many measurements.
        seconds: the duration.
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
        """The gains by one of the three measures; None: by the default one.

        Raises:
            ValueError: the measure was not taken, or there is none of that name.
        """
        if by is not None and by not in get_args(Measure):
            raise ValueError(f"by={by!r} is no measure; choose one of {', '.join(get_args(Measure))}")
        found = getattr(self, by or self.by)
        if found is None:
            raise ValueError(f"by={by!r} was not measured; measure with lookahead=True")
        return found

    def groups(self, count: int | None = None, by: Measure | None = None) -> list[list[str]]:
        """The grouping of largest predicted gain.

        Args:
            count: how many groups; None: the default, else the number with the largest gain.
            by: the measure; None: the default.

        Raises:
            ValueError: `count` is impossible for these tasks, or the measure was not taken.
        """
        found = best_groups(self.gains(by).mean, self.count if count is None else count)
        return [[self.tasks[n] for n in group] for group in found]

    def predicted(self, groups: Sequence[Sequence[str]], by: Measure | None = None) -> float:
        """The predicted gain of a grouping: the sum over ordered pairs in one group; 0 if each task is alone."""
        numbers = {name: n for n, name in enumerate(self.tasks)}
        return predicted_gain(self.gains(by).mean, [[numbers[name] for name in group] for group in groups])

    def conflicts(self, by: Measure | None = None) -> list[tuple[str, str]]:
        """The pairs that hurt one another: their interval for both directions is below 0; the worst first."""
        return self._pairs(by, -1)

    def helpers(self, by: Measure | None = None) -> list[tuple[str, str]]:
        """The pairs that help one another: their interval for both directions is above 0; the best first."""
        return self._pairs(by, 1)

    def as_json(self) -> dict[str, Any]:
        """All attributes as JSON, and the proposed groups."""
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
    """The affinity as means over all measurements.

    Args:
        tasks: the names.
        losses: `[T]` for each measurement.
        seen: by measure, `[T, T]` for each measurement: differences of the loss, or cosines.
        more: further attributes of `Affinity`.

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
