"""Where a training stands, and what it ends with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ._collapse import Watched

LESS_IS_BETTER = frozenset({"loss", "mae", "levels_off"})
"""Of these less is better."""


class DivergedError(ValueError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class Result:
    """What a training ends with; the model then holds the best epoch's weights.

    Attributes:
        curve: per epoch `epoch` (from 1), `step` (steps so far), `train_loss`, `val_loss`, `val_accuracy` (0 to 1),
            `lr` (by group of parameters), `seconds` (so far), `samples_per_second` (of training). `penalty`, if the
            method has one: what it added to the loss, mean over the steps; `train_loss` is without it. Where an epoch
            has several passes over the data, these are of its last one, and `passes` has the others', in order.
        best_epoch: the selected one, from 1.
        best: `val_accuracy` and `val_loss` of the weights and statistics that the model holds, whether `reestimated`
            statistics were kept, and the `penalty` of these weights, if the method has one. With `folds`: what all
            samples got from the task that was trained without them.
        seconds: of training and validation, all interrupted parts together.
        stopped: `finished` all epochs, or `early` for want of improvement.
        resumed: an earlier run in the folder was continued, or had finished already.
        threads: of torch, at the end; outside of the training torch has as many as before it.
        rates: what a range test (`lr="auto"`) found: `lr`, by group of parameters, and `why`; empty: there was none.
        selected_by: what made the best epoch the best: `loss`, or a score; of `select_by="auto"` what that came to.
        confusion: `[true][predicted]` validation samples of the weights that the model holds, by task; tasks without
            classes are left out.
    """

    curve: list[dict[str, Any]]
    best_epoch: int
    best: dict[str, Any]
    seconds: float
    stopped: Literal["finished", "early"]
    resumed: bool
    threads: int
    rates: dict[str, Any] = field(default_factory=dict)
    selected_by: str = "loss"
    confusion: dict[str, list[list[int]]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class JointResult(Result):
    """What a joint training ends with; the model then holds the best epoch's weights, inventory included.

    Attributes:
        curve: as in `Result`, where `val_loss` and whatever else was measured are means over tasks, each counted
            alike; and `tasks`, by name: `train_loss` (mean over its samples;
            None if the epoch had none), `val_loss` and the rest, and `penalty` (mean over the steps that had the task
            in their batch). The `penalty` beside them is the sum over tasks, each times its weight. With learned
            weights also `weights`, by task, as they are at the epoch's end.
        best: likewise; `tasks` says what was measured of each, and whether its `reestimated` statistics were kept.
    """

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """What was measured on validation, by task."""
        return self.best["tasks"]


@dataclass
class State:
    """Where a training stands; JSON all through.

    Attributes:
        prepared: of the tasks whose methods look at data before the first step, how many have been through.
        rates: what the range test found; empty: it is to come, or there is none.
        epoch, place, batch: the batch to be trained on next, in which pass of the epoch; all from 0.
        step: steps done.
        losses, penalties: sums of this pass's losses and penalties so far.
        seen: of each task, the sum of this pass's losses and their number, and that of its penalties.
        passes: losses of the epoch's earlier passes.
        seconds: so far; `training` of this epoch.
        waited: epochs without improvement.
        curve, best, best_epoch: as in `JointResult`.
        features: what the log has last said of features of the network's frozen part.
        stopped: None while epochs are to come.
        done: the model's tasks are final.
        settled: the tasks' ranks have come down to their budgets.
        threads: of torch, when they became so.
        watched: the losses of each task, by which a collapse is noticed.
        by: what makes an epoch the best.
        confusion: of the best epoch, or of the final weights, by task.
    """

    prepared: int = 0
    rates: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0
    place: int = 0
    batch: int = 0
    step: int = 0
    losses: float = 0.0
    penalties: float = 0.0
    seen: list[list[float]] = field(default_factory=list)
    passes: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    training: float = 0.0
    waited: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    best_epoch: int = 0
    features: dict[str, Any] = field(default_factory=dict)
    stopped: Literal["finished", "early"] | None = None
    done: bool = False
    settled: bool = False
    threads: int = 0
    watched: list[Watched] = field(default_factory=list)
    by: str = "loss"
    confusion: dict[str, list[list[int]]] = field(default_factory=dict)

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> State:
        """The inverse of `asdict`."""
        return cls(**{**found, "watched": [Watched(**one) for one in found["watched"]]})

    def result(self, resumed: bool) -> Result:
        """What the finished training of one task ends with."""
        assert self.stopped is not None
        curve = [_without_tasks(point) for point in self.curve]
        best = _without_tasks(self.best)
        common = self.seconds, self.stopped, resumed, self.threads, self.rates, self.by, self.confusion
        return Result(curve, self.best_epoch, best, *common)

    def joint_result(self, resumed: bool) -> JointResult:
        """What a finished joint training ends with."""
        assert self.stopped is not None
        common = self.seconds, self.stopped, resumed, self.threads, self.rates, self.by, self.confusion
        return JointResult(self.curve, self.best_epoch, self.best, *common)


def _without_tasks(found: dict[str, Any]) -> dict[str, Any]:
    passes = {"passes": [_without_tasks(one) for one in found["passes"]]} if "passes" in found else {}
    return {key: value for key, value in found.items() if key != "tasks"} | passes


def better(found: dict[str, Any], best: dict[str, Any], by: str) -> bool:
    """Whether a score is better, or as good at a lower `val_loss`; by "loss" the loss alone; by "last" always.

    What is less above the budget of its method is better than either.

    What has a loss that is not finite is never better, and nothing (`{}`) is worse than anything else.

    Example:
        >>> better({"val_accuracy": 0.9, "val_loss": 0.2}, {"val_accuracy": 0.9, "val_loss": 0.3}, "accuracy")
        True
    """
    if not math.isfinite(found["val_loss"]):
        return False
    if not best or not math.isfinite(best["val_loss"]):
        return True

    def rank(metrics: dict[str, Any]) -> tuple[float, ...]:
        sign = -1 if by in LESS_IS_BETTER else 1
        scores = () if by == "last" else (sign * metrics[f"val_{by}"], -metrics["val_loss"])
        return (-metrics.get("over_budget", 0.0), *scores)

    return rank(found) >= rank(best) if by == "last" else rank(found) > rank(best)
