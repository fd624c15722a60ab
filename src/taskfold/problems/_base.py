"""The base class of problems: from labels in files to losses, scores and answers in words."""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..functions import function_of

Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs `[B, …]`, targets) → the mean over the batch, a scalar, or one number for each row, `[B]`."""
Metric = Callable[[Tensor, Tensor], Any]
"""(outputs `[N, …]`, targets `[N, …]`) of all test data, on the CPU → a number."""
Cells = tuple[object, ...]
"""The text or value in each label column of a row."""

ROWS_NAMED = 3


class TargetError(ValueError):
    """A label or a target cannot be trained on: the message has it, the rule and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Problem(ABC):
    """The meaning of a task's outputs: how labels become targets, the loss, the scores, and the answers.

    Each kind of problem is a subclass, in its own file; `PROBLEMS` lists them by `kind`.

    Attributes:
        columns: the names of a table's label columns.
        loss: the name of a loss, `module:function`, or a function; None: the kind's default.
        metrics: further scores of test data: `module:function`, or functions (outputs, targets) → a number.
    """

    kind: ClassVar[str]
    words: ClassVar[str]
    of_classes: ClassVar[bool] = False
    """Whether every input has exactly one label, as in folders of images."""
    per_word: ClassVar[bool] = False
    """Whether targets are of the words of a text, not of the whole input."""
    losses: ClassVar[Mapping[str, Loss]] = {}
    """The losses by the names that `loss` may have; the first is the default."""
    select_by: ClassVar[tuple[str, ...]] = ("auto", "loss", "last")
    """The measures that can select the best epoch, the default first; those of `metrics` can, too."""
    better: ClassVar[Mapping[str, bool]] = {}
    """The scores of test data, the main one first, each with whether more is better."""
    shares: ClassVar[frozenset[str]] = frozenset()
    """The scores that are shares, from 0 to 1."""
    titles: ClassVar[Mapping[str, str]] = {}
    """Titles of scores that differ from their names."""

    columns: tuple[str, ...] = ("label",)
    loss: str | Loss | None = None
    metrics: tuple[str | Metric, ...] = ()

    def __post_init__(self) -> None:
        if not self.columns or len({*self.columns}) < len(self.columns):
            raise ValueError(f"columns must be one name or more, none twice, found {list(self.columns)}")
        for said in (self.loss, *self.metrics):
            if isinstance(said, str) and said not in self.losses:
                self._function(said)

    @abstractmethod
    def read(self, cells: Cells) -> Any:
        """A label from the columns of a row.

        Raises:
            TargetError: the columns do not hold one; the message begins with the column.
        """

    @abstractmethod
    def fitted(self, labels: Sequence[Any]) -> tuple[Self, tuple[str, ...]]:
        """The problem fitted to all labels from `read`, and the names of its outputs.

        Raises:
            TargetError: the labels do not fit the problem.
        """

    @abstractmethod
    def target(self, label: Any, names: Sequence[str]) -> Any:
        """A label as numbers: an integer, or a tuple of floats."""

    def used(self, target: Any, names: Sequence[str]) -> set[str]:
        """The names of outputs that a target refers to."""
        del target, names
        return set()

    def renamed(self, target: Any, names: Sequence[str], others: Sequence[str]) -> Any:
        """A target for outputs with other names or in another order."""
        return target if names == others else self.target(tuple(self.used(target, names)), others)

    def strata(self, targets: Sequence[Any]) -> list[int]:
        """The group of each sample; random splits take the same share of each group."""
        return [0] * len(targets)

    def check(self, targets: Mapping[str, Sequence[Any]], names: Sequence[str]) -> list[str]:
        """The problem with the targets of all splits together; empty: there is none."""
        del targets, names
        return []

    def for_training(self, targets: Sequence[Any]) -> Self:
        """The problem in its form for training a new head on these targets, until `settle`."""
        del targets
        return self

    def settle(self, head: nn.Module) -> None:
        """Change a trained head from the form for training to the problem itself."""
        del head

    @abstractmethod
    def check_rows(self, outputs: Tensor, targets: Tensor, name: str) -> None:
        """Checks that targets of a batch, on the CPU, fit the outputs of task `name`.

        Raises:
            TargetError: they do not.
        """

    def losses_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each row, `[B]`."""
        return per_row(self._loss, *self.aligned(outputs, targets))

    @abstractmethod
    def measures(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The measures in validation besides the loss, `[B]` each."""

    def aligned(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and targets in the form for the loss."""
        return outputs, targets

    def scores(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Scores of all test data, the main one first, then those of `metrics`; undefined ones are left out.

        Args:
            outputs: `[N, …]`, float32, on the CPU.
            targets: `[N]` or `[N, …]`.

        Raises:
            ValueError: a metric fails, or does not return a number.
            ImportError: an extra is not installed.
        """
        outputs, targets = self.aligned(outputs, targets)
        found = {name: value for name, value in self._scores(outputs, targets).items() if value == value}
        return found | {_name(said): self._called(said, outputs, targets) for said in self.metrics}

    def scores_of(self, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """`scores` of the outputs and targets of all batches in validation."""
        outputs, targets = (torch.cat([*each]) for each in zip(*batches, strict=True))
        return self.scores(outputs, targets)

    @abstractmethod
    def _scores(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """The scores of the kind; NaN for undefined ones."""

    def doubt(self, scores: Mapping[str, float]) -> str:
        """Why scores prove nothing for a task; empty: there is no doubt."""
        del scores
        return ""

    @abstractmethod
    def answer(self, output: Tensor, names: Sequence[str], top: int = 0) -> dict[str, Any]:
        """The answer to one input, as JSON; `said` is the answer in words.

        Args:
            output: the output for one input, float32, on the CPU.
            names: the outputs' names.
            top: how many of the likeliest classes to add, with their probabilities.
        """

    @abstractmethod
    def said(self, target: Any, names: Sequence[str]) -> str:
        """A target in words."""

    def as_json(self) -> dict[str, Any]:
        """The JSON for a task file: all fields but loss and metrics, which belong to training and testing."""
        kept = [field.name for field in fields(self) if field.name not in ("loss", "metrics")]
        return {"kind": self.kind, **{name: _listed(getattr(self, name)) for name in kept}}

    def identity(self) -> dict[str, Any]:
        """The JSON that a resumed training must match."""
        return self.as_json() | {"loss": None if self.loss is None else _name(self.loss)}

    @property
    def metric_names(self) -> list[str]:
        """The names of `metrics`, as JSON."""
        return [_name(said) for said in self.metrics]

    @property
    def _loss(self) -> Loss:
        if self.loss is None:
            return next(iter(self.losses.values()))
        known = self.losses.get(self.loss) if isinstance(self.loss, str) else None
        return known or self._function(self.loss)

    def _function(self, said: str | Callable[..., Any]) -> Callable[..., Any]:
        if callable(said):
            return said
        if ":" not in said:
            known = ", ".join(self.losses) or "none"
            raise ValueError(f"loss must be one of {known}, or module:function, found {said!r}")
        return function_of(said)

    def _called(self, said: str | Metric, outputs: Tensor, targets: Tensor) -> float:
        try:
            value = self._function(said)(outputs, targets)
            return float(value)
        except Exception as error:
            raise ValueError(
                f"metric {_name(said)} must return a number for outputs {list(outputs.shape)} and targets "
                f"{list(targets.shape)}, found {type(error).__name__}: {error}"
            ) from error


def per_row(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of each row, `[B]`: torch's own losses row by row; for other losses their mean, for each row.

    Raises:
        ValueError: the loss returns neither one number nor one for each row.
    """
    weighted = getattr(loss, "weight", None) is not None  # the mean depends on the batch's class weights
    if isinstance(loss, nn.Module) and getattr(loss, "reduction", None) == "mean" and not weighted:
        loss = copy.copy(loss)
        loss.reduction = "none"  # type: ignore[assignment]
    elif inspect.isfunction(loss) and "reduction" in inspect.signature(loss).parameters:
        loss = partial(loss, reduction="none")
    found = loss(outputs, targets)
    rows = len(outputs)
    if not isinstance(found, Tensor) or (found.dim() and len(found) != rows):
        shown = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"the loss must return a number, or one for each of {rows} rows, found {shown}")
    return found.flatten(1).mean(1) if found.dim() > 1 else found.expand(rows)


def named_all(what: str, wrong: Sequence[str]) -> str:
    """Some of many, in words."""
    more = f", and {len(wrong) - ROWS_NAMED} more" if len(wrong) > ROWS_NAMED else ""
    return f"{what}: {', '.join(wrong[:ROWS_NAMED])}{more}"


def finite(outputs: Tensor, targets: Tensor, name: str) -> None:
    """Checks that targets are finite numbers, as many as outputs.

    Raises:
        TargetError: they are not.
    """
    if targets.numel() != outputs.numel() or len(targets) != len(outputs):
        raise TargetError(
            f"task {name!r} returns {list(outputs.shape)} for targets {list(targets.shape)}; it needs one output for "
            "each number of a target: give the task a head of as many outputs"
        )
    if (row := first_not_finite(targets)) is not None:
        raise TargetError(
            f"task {name!r}: a target is {targets[row].tolist()}; targets must be finite numbers: take such samples out"
        )


def first_not_finite(targets: Tensor) -> int | None:
    """The first row with a number that is not finite; None: there is none."""
    if not targets.is_floating_point() or bool(torch.isfinite(targets).all()):
        return None
    return int((~torch.isfinite(targets)).reshape(len(targets), -1).any(1).nonzero()[0])


def _name(said: str | Callable[..., Any]) -> str:
    if isinstance(said, str):
        return said.rpartition(":")[2]
    return getattr(said, "__name__", None) or type(said).__name__


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
