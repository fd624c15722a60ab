from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import pstdev
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._base import Cells, Loss, Problem, TargetError, finite, named_all
from ._library import metrics

__all__ = ["Regression"]

SINGLE, APART = torch.finfo(torch.float32), 100
"""Numbers are told apart if their deviation is so many steps of single precision."""
GROUPS, LEAST = 10, 10
"""Random splits have equal shares of each tenth of the numbers; the least number of samples in such a group."""


@dataclass(frozen=True, kw_only=True)
class Regression(Problem):
    """One number or several: an output for each, the mean squared error.

    `taskfold train` trains on numbers of mean 0 and standard deviation 1, and folds both into the head when training
    ends: the task's outputs are in the labels' units.

    Attributes:
        mean, std: those of the training targets, while a head trains; empty: outputs are in the labels' units.

    Example:
        >>> problem, names = Regression(columns=("height", "weight")).fitted([(180.0, 80.0), (160.0, 50.0)])
        >>> names, problem.answer(torch.tensor([171.0, 64.5]), names)["values"]
        (('height', 'weight'), {'height': 171.0, 'weight': 64.5})
    """

    kind: ClassVar[str] = "regression"
    words: ClassVar[str] = "numbers"
    losses: ClassVar[Mapping[str, Loss]] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}
    select_by: ClassVar[tuple[str, ...]] = ("auto", "mae", "rmse", "r2", "loss", "last")
    better: ClassVar[Mapping[str, bool]] = {"r2": True, "mae": False, "rmse": False}
    titles: ClassVar[Mapping[str, str]] = {"r2": "R²", "mae": "MAE", "rmse": "RMSE"}

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def read(self, cells: Cells) -> tuple[float, ...]:
        return tuple(_number(cell, column) for cell, column in zip(_spread(self, cells), self.columns, strict=True))

    def fitted(self, labels: Sequence[tuple[float, ...]]) -> tuple[Self, tuple[str, ...]]:
        """The columns' names."""
        del labels
        return self, self.columns

    def target(self, label: tuple[float, ...], names: Sequence[str]) -> tuple[float, ...]:
        del names
        return label

    def renamed(self, target: tuple[float, ...], names: Sequence[str], others: Sequence[str]) -> tuple[float, ...]:
        return tuple(target[names.index(name)] for name in others)

    def used(self, target: tuple[float, ...], names: Sequence[str]) -> set[str]:
        del target
        return {*names}

    def strata(self, targets: Sequence[tuple[float, ...]]) -> list[int]:
        """Tenths of the first number."""
        count = max(1, min(GROUPS, len(targets) // LEAST))
        order = sorted(range(len(targets)), key=lambda index: targets[index][0])
        found = [0] * len(targets)
        for place, index in enumerate(order):
            found[index] = place * count // len(targets)
        return found

    def check(self, targets: Mapping[str, Sequence[tuple[float, ...]]], names: Sequence[str]) -> list[str]:
        """Numbers that are all the same teach nothing, nor do those that single precision does not tell apart."""
        same, close = list[str](), list[str]()
        for at, name in enumerate(names):
            values = [label[at] for label in targets["train"]]
            if len({*values}) == 1:
                same.append(f"{name} is always {values[0]:g}")
            elif pstdev(values) < APART * SINGLE.eps * max(map(abs, values)):
                close.append(f"{name} is {min(values):.10g} to {max(values):.10g}; take a constant from all of them")
        return [
            named_all(said, which)
            for said, which in (
                ("every training target is the same, so that there is nothing to learn", same),
                ("training targets differ by too little for single precision, which has seven digits", close),
            )
            if which
        ]

    def for_training(self, targets: Sequence[tuple[float, ...]]) -> Self:
        """The problem with mean and deviation of the targets."""
        values = torch.tensor(targets, dtype=torch.float64)
        std, mean = torch.std_mean(values, 0, correction=0)
        return replace(self, mean=tuple(mean.tolist()), std=tuple(std.clamp_min(1e-12).tolist()))

    @torch.no_grad()
    def settle(self, head: nn.Module) -> None:
        """Folds mean and deviation into a linear head."""
        if not self.mean:
            return
        assert isinstance(head, nn.Linear)
        mean, std = self._scale(head.weight)
        head.weight.mul_(std[:, None])
        head.bias.mul_(std).add_(mean)

    def as_json(self) -> dict[str, Any]:
        """The JSON without `mean` and `std`, which only training uses."""
        return {key: value for key, value in super().as_json().items() if key not in ("mean", "std")}

    def check_rows(self, outputs: Tensor, targets: Tensor, name: str) -> None:
        finite(outputs, targets, name)

    def aligned(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Targets in the outputs' shape: `[B]` with `[B, 1]` would broadcast."""
        targets = targets.reshape(outputs.shape).to(outputs.dtype)
        if not self.mean:
            return outputs, targets
        mean, std = self._scale(outputs)
        return outputs, (targets - mean) / std

    def measures(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The mean absolute error, in the labels' units."""
        outputs, targets = self.aligned(outputs, targets)
        away = (outputs - targets).abs()
        return {"mae": (away * self._scale(outputs)[1] if self.mean else away).flatten(1).mean(1)}

    def _scores(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        outputs, targets = outputs.reshape(len(outputs), -1), targets.reshape(len(targets), -1)
        library, away = metrics(), outputs - targets
        several = targets.std(0, correction=0).min() > 0 if len(targets) > 1 else False
        found = {
            "r2": float(library.r2_score(outputs, targets)) if several else math.nan,
            "mae": float(away.abs().mean()),
            "rmse": float(away.square().mean().sqrt()),
        }
        each = zip(self.columns, away.abs().mean(0).tolist(), strict=False)
        return found | ({f"mae {name}": value for name, value in each} if outputs.shape[1] > 1 else {})

    def scores_of(self, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """The scores in the labels' units: of what the head puts out once mean and deviation are folded into it."""
        if not self.mean:
            return super().scores_of(batches)
        mean, std = self._scale(batches[0][0])
        return replace(self, mean=(), std=()).scores_of([(outputs * std + mean, goals) for outputs, goals in batches])

    def doubt(self, scores: Mapping[str, float]) -> str:
        """R² of 0 is that of the test targets' mean."""
        if scores.get("r2", 1.0) > 0:
            return ""
        return f"R² {scores['r2']:.2f} is no better than always answering the mean, which has 0"

    def answer(self, output: Tensor, names: Sequence[str], top: int = 0) -> dict[str, Any]:
        del top
        values = output.flatten().tolist()
        said = self.said(values, names)
        if len(values) == 1:
            return {"value": values[0], "said": said}
        return {"values": dict(zip(names or map(str, range(len(values))), values, strict=True)), "said": said}

    def said(self, target: Sequence[float], names: Sequence[str]) -> str:
        if len(target) == 1:
            return f"{target[0]:.4g}"
        called = names or [str(at) for at in range(len(target))]
        return ", ".join(f"{name} {value:.4g}" for name, value in zip(called, target, strict=True))

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return like.new_tensor(self.mean), like.new_tensor(self.std)


def _spread(problem: Problem, cells: Cells) -> Cells:
    """A list in place of several columns is allowed."""
    if len(cells) == 1 and isinstance(cells[0], list | tuple):
        cells = tuple(cells[0])
    if len(cells) != len(problem.columns):
        raise TargetError(
            f"there must be {len(problem.columns)} numbers ({', '.join(problem.columns)}), found {len(cells)}; name "
            "them all in problem.columns"
        )
    return cells


def _number(cell: object, column: str) -> float:
    try:
        value = float(str(cell).strip()) if not isinstance(cell, bool) else math.nan
    except ValueError:
        value = math.nan
    if not abs(value) <= SINGLE.max:
        bound = f", up to {SINGLE.max:.2g}" if math.isfinite(value) else ""
        raise TargetError(f"{column} must be a finite number{bound}, found {cell!r}")
    return value
