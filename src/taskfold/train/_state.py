"""The state of a training, and its result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ._collapse import Watched

LESS_IS_BETTER = frozenset({"loss", "mae", "rmse", "levels_off"})
"""The measures of which less is better."""


class DivergedError(ValueError):
    """The loss is not finite."""


@dataclass(frozen=True)
class Result:
    """The result of a training; the model holds the best epoch's weights.

    Attributes:
        curve: per epoch `epoch` (from 1), `step` (steps so far), `train_loss`, `val_loss`, `val_accuracy` (0 to 1),
            `lr` (by group of parameters), `seconds` (so far), `samples_per_second` (of training). `penalty`, if the
            method has one: its addition to the loss, mean over the steps; `train_loss` is without it. If an epoch
            has several passes over the data, these values are the last one's, and `passes` has the others', in order.
        best_epoch: the selected epoch, from 1.
        best: `val_accuracy` and `val_loss` of the weights and statistics that the model holds, whether `reestimated`
            statistics were kept, and the `penalty` of these weights, if the method has one. With `folds`: the measures
            of all samples, each by the training without it.
        seconds: the duration of training and validation, interrupted parts included.
        stopped: `finished` all epochs, or `early` for want of improvement.
        resumed: an earlier run in the folder was continued, or had finished already.
        threads: Torch's number of threads at the end; after the training it is the caller's again.
        rates: what a range test (`lr="auto"`) found: `lr`, by group of parameters, and `why`; empty: there was none.
        selected_by: the measure that selected the best epoch: `loss`, or a score; `select_by="auto"` is resolved.
        confusion: `[true][predicted]` counts of validation samples for the model's weights, by task; tasks without
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
        """The result as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class JointResult(Result):
    """The result of a joint training; the model holds the best epoch's weights, inventory included.

    Attributes:
        curve: as in `Result`; `val_loss` and the other measures are means over tasks, each weighted alike. `tasks` has,
            by name: `train_loss` (mean over its samples; None if the epoch had none), `val_loss` and the rest, and
            `penalty` (mean over the steps that had the task in their batch). The overall `penalty` is the sum over
            tasks, each times its weight. With learned loss weights also `weights`, by task, at the epoch's end.
        best: likewise; `tasks` has each task's measures, and whether its `reestimated` statistics were kept.
    """

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """The validation measures, by task."""
        return self.best["tasks"]


@dataclass
class State:
    """The state of a training, as JSON values.

    Attributes:
        prepared: how many of the tasks whose methods look at data before the first step have done so.
        rates: the range test's result; empty: it has not run.
        epoch, place, batch: the next batch, and its pass in the epoch; all from 0.
        step: steps done.
        losses, penalties: this pass's sums.
        seen: for each task, this pass's sum and number of losses, and of penalties.
        passes: the losses of the epoch's earlier passes.
        seconds: so far; `training`: the part in this epoch's training steps.
        waited: epochs without improvement.
        curve, best, best_epoch: as in `JointResult`.
        features: the log's last entry on cached features.
        stopped: why the training stopped; None while epochs are left.
        done: the model's tasks are final.
        settled: the tasks' ranks are final.
        threads: Torch's number of threads at that time.
        watched: the losses of each task, to detect a collapse.
        by: the measure that selects the best epoch.
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
        """The state from JSON, as `asdict` writes it."""
        return cls(**{**found, "watched": [Watched(**one) for one in found["watched"]]})

    def result(self, resumed: bool) -> Result:
        """The result of a finished training of one task."""
        assert self.stopped is not None
        curve = [_without_tasks(point) for point in self.curve]
        best = _without_tasks(self.best)
        common = self.seconds, self.stopped, resumed, self.threads, self.rates, self.by, self.confusion
        return Result(curve, self.best_epoch, best, *common)

    def joint_result(self, resumed: bool) -> JointResult:
        """The result of a finished joint training."""
        assert self.stopped is not None
        common = self.seconds, self.stopped, resumed, self.threads, self.rates, self.by, self.confusion
        return JointResult(self.curve, self.best_epoch, self.best, *common)


def _without_tasks(found: dict[str, Any]) -> dict[str, Any]:
    passes = {"passes": [_without_tasks(one) for one in found["passes"]]} if "passes" in found else {}
    return {key: value for key, value in found.items() if key != "tasks"} | passes


def better(found: dict[str, Any], best: dict[str, Any], by: str) -> bool:
    """Whether `found` has a better score, or an equal one and a lower `val_loss`; by "last" always.

    A smaller excess over the method's budget counts before either. A non-finite loss is never better, and

    everything else is better than `{}`.

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
