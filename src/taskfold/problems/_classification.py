from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self
from unicodedata import normalize

import torch
import torch.nn.functional as F
from torch import Tensor

from ._base import Cells, Loss, Problem, TargetError, named_all

__all__ = ["Classification"]


@dataclass(frozen=True, kw_only=True)
class Classification(Problem):
    """One class of several: an output for each class, cross-entropy.

    Example:
        >>> problem, names = Classification().fitted(["cat", "dog", "cat"])
        >>> names, problem.target("dog", names)
        (('cat', 'dog'), 1)
    """

    kind: ClassVar[str] = "classification"
    words: ClassVar[str] = "one class of several"
    of_classes: ClassVar[bool] = True
    losses: ClassVar[Mapping[str, Loss]] = {"cross-entropy": F.cross_entropy}
    select_by: ClassVar[tuple[str, ...]] = ("auto", "accuracy", "balanced_accuracy", "macro_f1", "loss", "last")
    better: ClassVar[Mapping[str, bool]] = {"accuracy": True}
    shares: ClassVar[frozenset[str]] = frozenset({"accuracy"})

    def read(self, cells: Cells) -> str:
        [cell] = one_cell(self, cells)
        return cell

    def fitted(self, labels: Sequence[str]) -> tuple[Self, tuple[str, ...]]:
        """The classes in the labels' order; as numbers if all are."""
        return self, in_order(labels)

    def target(self, label: str, names: Sequence[str]) -> int:
        return names.index(label)

    def used(self, target: int, names: Sequence[str]) -> set[str]:
        return {names[target]}

    def renamed(self, target: int, names: Sequence[str], others: Sequence[str]) -> int:
        return others.index(names[target])

    def strata(self, targets: Sequence[int]) -> list[int]:
        return list(targets)

    def check(self, targets: Mapping[str, Sequence[int]], names: Sequence[str]) -> list[str]:
        """A class that no training sample has can't be learnt."""
        unseen = sorted({target for part in targets.values() for target in part} - {*targets["train"]})
        said = named_all("classes in val or test without a training sample", [names[target] for target in unseen])
        return [f"{said}: add samples, or take these classes out"] if unseen else []

    def check_rows(self, outputs: Tensor, targets: Tensor, name: str) -> None:
        check_indices(outputs, targets, name)

    def measures(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"accuracy": (outputs.argmax(1) == targets).float()}

    def _scores(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        return {"accuracy": float((outputs.argmax(1) == targets).float().mean())}

    def answer(self, output: Tensor, names: Sequence[str], top: int = 0) -> dict[str, Any]:
        probabilities, places = output.softmax(-1).topk(min(max(top, 1), len(output)))
        listed = [
            {"label": names[place] if place < len(names) else str(place), "probability": probability}
            for place, probability in zip(places.tolist(), probabilities.tolist(), strict=True)
        ]
        return {**listed[0], "said": listed[0]["label"], **({"probabilities": listed} if top else {})}

    def said(self, target: int, names: Sequence[str]) -> str:
        return names[target]


def one_cell(problem: Problem, cells: Cells) -> list[str]:
    """The text in the only column, not empty.

    Raises:
        TargetError: there are several columns, or the text is empty.
    """
    if len(cells) != 1:
        raise TargetError(
            f"problem {problem.kind!r} takes one column, found {len(cells)}: {', '.join(problem.columns)}"
        )
    text = str(cells[0]).strip() if isinstance(cells[0], str | int | float) else ""
    if not text:
        raise TargetError(f"{problem.columns[0]} must be a label that is not empty, found {cells[0]!r}")
    return [text]


def in_order(labels: Sequence[str]) -> tuple[str, ...]:
    """Each label once, sorted; as numbers if all are whole ones.

    Raises:
        TargetError: two differ in the composition of letters alone.
    """
    found, composed = sorted(set(labels)), dict[str, str]()
    for label in found:
        if composed.setdefault(normalize("NFC", label), label) != label:
            raise TargetError(
                f"label {label!r} is composed of other characters in some places than in others (Unicode's NFC, NFD) "
                "and looks the same: write it in one way"
            )
    return tuple(sorted(found, key=int) if all(map(is_whole, found)) else found)


def is_whole(label: str) -> bool:
    """Whether a label is a whole number."""
    return label.removeprefix("-").isdecimal()


def check_indices(outputs: Tensor, targets: Tensor, name: str, ignored: int | None = None) -> None:
    """Checks that targets, still on the CPU, are among the outputs: a GPU would only report "device-side assert".

    Args:
        outputs: `[B, C]`, or `[B, T, C]` for targets `[B, T]`.
        targets: class indices.
        name: the task's name.
        ignored: the index that marks no target.

    Raises:
        TargetError: they are not, or the shapes do not fit.
    """
    shapes = ("[B, C]", "[B]") if ignored is None else ("[B, T, C]", "[B, T]")
    if outputs.dim() != shapes[0].count(",") + 1 or targets.shape != outputs.shape[:-1]:
        raise TargetError(
            f"task {name!r} returns {list(outputs.shape)} for targets {list(targets.shape)}; classification needs "
            f"outputs {shapes[0]} and targets {shapes[1]}: give the task a head with one output per class"
        )
    if targets.is_floating_point() or targets.is_complex():
        raise TargetError(
            f"task {name!r}: targets must be whole numbers (class indices), found {targets.dtype}; for targets that "
            "are numbers say so: problem=Regression(…)"
        )
    if ignored is not None:
        targets = targets[targets != ignored]
    if not targets.numel():
        return
    low, high = (int(value) for value in torch.aminmax(targets))
    if low < 0 or high >= outputs.shape[-1]:
        raise TargetError(
            f"task {name!r} has {outputs.shape[-1]} outputs, but a target is {low if low < 0 else high}; targets must "
            f"be 0 to {outputs.shape[-1] - 1}: check the labels, or give the task a head of the right size"
        )
