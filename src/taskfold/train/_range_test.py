"""The range test: finds learning rates before the first step (`lr="auto"`)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any

from ._job import Job
from ._passes import Plan, Regime
from ._steps import Steps
from ._trial import Trials

SHARE, LEAST, MOST = 10, 20, 50
"""A trial has a tenth of the training's steps, within these limits."""
FURTHEST = 12
"""Octaves, at most, between a rate and its default."""
BELOW = 0.5
"""Octaves from the lowest loss down to the chosen rate: a rate too high costs more than one too low."""


class RangeTest:
    """Trials at rates a factor of two apart, from the groups' defaults on, until the loss is higher on both sides.

    First all groups of parameters move together, in the proportions of their defaults; then each group by itself, while
    the others stay. A trial's score is the mean loss in the last quarter of its steps, each batch evaluated before the
    step on it. The choice is half an octave below the minimum of the parabola through the lowest loss of all groups
    together and its two neighbours. Groups that first train in a later pass are tried afterwards, in that pass.

    Args:
        job: the training.
        made: the training's steps.
        plan: the training's passes.
    """

    def __init__(self, job: Job, made: Steps, plan: Plan) -> None:
        self.plan, self.moves = plan, job.moves
        self.trials = Trials(job, made, min(max(plan.steps // SHARE, LEAST), MOST))
        self.defaults = {group: job.optimisers[group].lr for group in sorted(job.sought)}
        self.octaves = dict.fromkeys(self.defaults, 0)
        self.shifts = dict.fromkeys(self.defaults, 0.0)
        self.known: dict[tuple[int, ...], float] = {}

    def run(self) -> dict[str, Any]:
        """Find the rates.

        Returns:
            `lr`, by group; `why`, an explanation; the number of `steps`; the `trials` with their `loss`, None where
            a trial diverged.
        """
        trials: list[dict[str, Any]] = []
        for regime, groups in self._firsts():
            self.known.clear()
            self._climb(regime, groups, trials)
            self.shifts |= dict.fromkeys(groups, self._shift(groups))
            for group in groups if len(groups) > 1 else ():
                self._climb(regime, [group], trials)
        chosen = {group: rate * 2.0 ** self.shifts[group] for group, rate in self._rates().items()}
        return {"lr": chosen, "why": self._why(chosen, trials), "steps": self.trials.taken, "trials": trials}

    def _firsts(self) -> Iterator[tuple[Regime, list[str]]]:
        """Each pass that trains new groups, with these groups."""
        left = list(self.defaults)
        for regime in (one for own in self.plan.regimes for one in own):
            still = {id(tensor) for tensor in regime.still}
            new = [group for group in left if any(id(p) not in still for p in self.moves.groups[group])]
            left = [group for group in left if group not in new]
            if new:
                yield regime, new

    def _climb(self, regime: Regime, moving: Collection[str], trials: list[dict[str, Any]]) -> None:
        """Moves these groups by octaves while the loss falls; from a diverging start, only down."""
        start, here = dict(self.octaves), self._loss(regime, trials)
        for way in (1, -1) if math.isfinite(here) else (-1,):
            while max(abs(self.octaves[group] + way) for group in moving) <= FURTHEST:
                before = dict(self.octaves)
                self.octaves |= {group: self.octaves[group] + way for group in moving}
                there = self._loss(regime, trials)
                if math.isfinite(here) and not there < here:
                    self.octaves = before
                    break
                here = there
            if not math.isfinite(here):  # the training itself reports the divergence
                self.octaves = start
            if self.octaves != start:
                return

    def _loss(self, regime: Regime, trials: list[dict[str, Any]]) -> float:
        """The score of a trial at the present rates; infinite: it diverged."""
        key = tuple(self.octaves.values())
        if key not in self.known:
            losses = self.trials.losses(regime, self._rates())
            last = losses[-(len(losses) // 4) :]
            self.known[key] = sum(last) / len(last) if len(losses) == self.trials.length else math.inf
            trials.append({"lr": self._rates(), "loss": self.known[key] if math.isfinite(self.known[key]) else None})
        return self.known[key]

    def _shift(self, groups: Collection[str]) -> float:
        """Octaves from these groups' present rates to the chosen ones, by the losses here and on both sides."""
        sides = [{**self.octaves, **{group: self.octaves[group] + way for group in groups}} for way in (-1, 0, 1)]
        low, here, high = (self.known.get(tuple(side.values())) for side in sides)
        if here is None or not math.isfinite(here):
            return 0.0
        if low is None or high is None or low == high:
            return -BELOW
        if math.isinf(low + high):
            return (-0.5 if math.isinf(high) else 0.5) - BELOW
        return 0.5 * (low - high) / (low - 2 * here + high) - BELOW

    def _rates(self) -> dict[str, float]:
        return {group: lr * 2.0 ** self.octaves[group] for group, lr in self.defaults.items()}

    def _why(self, chosen: dict[str, float], trials: list[dict[str, Any]]) -> str:
        """The chosen rates and the reason, in a line."""
        rates = self._rates()
        said = ", ".join(f"{group} {rate:.2g}" for group, rate in chosen.items())
        done = f"{len(trials)} trials of {self.trials.length} steps"
        loss = next((one["loss"] for one in reversed(trials) if one["lr"] == rates), None)
        if loss is None:
            return f"{said}, the defaults: in {done} the loss diverged at all rates that were tried"
        gone = sum(one["loss"] is None for one in trials)
        at = ", ".join(f"{group} {rate:.2g}" for group, rate in rates.items())
        return f"{said}: a little below the lowest loss of {done}, {loss:.4g} at {at}" + (
            f"; {gone} of them diverged" if gone else ""
        )
