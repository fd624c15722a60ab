"""Cross-validation: each sample is held out in one training, and a final training has all samples."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..evaluate import Metrics, check_data, evaluate
from ..methods import method_of
from ..model import MultiTask
from ._belongings import Belongings
from ._seams import TaskSet
from ._seeds import mixed
from ._state import Result
from ._targets import targets_of
from .settings import Settings

Train = Callable[[TaskSet, Settings, Path | None, str], Result]
"""(data, settings without folds, folder, addition to the label) → a training of the task from its present weights."""


class Chosen(Dataset[Any]):
    """Selected samples of several data sets, as one data set.

    Args:
        parts: the data sets.
        indices: positions in the data sets laid end to end; None: all.
    """

    def __init__(self, parts: Sequence[Dataset[Any]], indices: Sequence[int] | None = None) -> None:
        self.parts = tuple(parts)
        self.offsets = np.cumsum([0, *(len(part) for part in parts)])  # type: ignore[arg-type]
        self.indices = range(int(self.offsets[-1])) if indices is None else indices

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on to the data sets, for augmentation."""
        for part in self.parts:
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)  # type: ignore[attr-defined]

    @property
    def targets(self) -> np.ndarray:
        """The samples' classes."""
        return np.concatenate([targets_of(part, "folds") for part in self.parts])[np.asarray(self.indices)]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        place = self.indices[index]
        part = int(np.searchsorted(self.offsets, place, side="right")) - 1
        return self.parts[part][place - int(self.offsets[part])]


@dataclass(frozen=True)
class Whole:
    """The samples of training and validation together.

    Attributes:
        train: the data sets with augmentation.
        plain: the data sets without augmentation.
        keys: a key of each sample; samples with equal keys are held out together.
        val: the validation samples, which the final training's curve is measured on.
    """

    train: Sequence[Dataset[Any]]
    plain: Sequence[Dataset[Any]]
    keys: Sequence[Hashable]
    val: Dataset[Any]

    @classmethod
    def of(cls, data: TaskSet) -> Whole:
        """A task's samples; validation samples are augmented like training samples if their data set can (`over`)."""
        over = getattr(data.train, "over", None)
        more = over(data.val) if over is not None and type(data.train) is type(data.val) else data.val
        plain = (data.unaugmented, data.val)
        keys: list[Hashable] = []
        for n, part in enumerate(plain):
            keys += getattr(part, "equal_keys", None) or [(n, index) for index in range(check_data(part, "the data"))]
        return cls((data.train, more), plain, keys, data.val)

    def folds(self, count: int, seed: int) -> Iterator[TaskSet]:
        """For each fold the training samples and the held-out ones, with equal numbers of each class, up to one."""
        targets = Chosen(self.plain).targets
        groups: dict[Hashable, list[int]] = {}
        for index, key in enumerate(self.keys):
            groups.setdefault(key, []).append(index)
        if len(groups) < count:
            raise ValueError(f"folds={count} needs as many different samples, found {len(groups)}; lower it")
        each, generator = list(groups.values()), torch.Generator().manual_seed(mixed(seed, "folds"))
        order = sorted(torch.randperm(len(each), generator=generator).tolist(), key=lambda n: targets[each[n][0]])
        fold = np.empty(len(targets), np.int64)
        for place, n in enumerate(order):
            fold[each[n]] = place % count
        for number in range(count):
            kept, held = (np.flatnonzero(mask).tolist() for mask in (fold != number, fold == number))
            yield TaskSet(Chosen(self.train, kept), Chosen(self.plain, held), Chosen(self.plain, kept))


def cross_validated(
    model: MultiTask, name: str, data: TaskSet, settings: Settings, moves: Belongings, folder: Path | None, train: Train
) -> Result:
    """Train once for each fold, on all other folds, and then on all samples.

    Args:
        model, name: the task; its present weights are the start of each training.
        data: training and validation, used together.
        settings: with `folds` set.
        moves: the tensors that its training moves.
        folder: the place of folders `fold-1`, …, so that an interrupted run resumes; None: nothing is kept.
        train: runs one training.

    Raises:
        ValueError: the method changes its ranks while it trains, or there are fewer samples than folds.

    Returns:
        The final training's result; its validation measures each sample by the training that held it out.
    """
    assert settings.folds is not None
    if method_of(model[name]).rank_allocator(model[name], model.backbone) is not None:
        raise ValueError(f"folds={settings.folds} does not go with ranks that change while a task trains; set the rank")
    whole, start = Whole.of(data), moves.snapshot()
    one = settings.model_copy(update={"folds": None, "select_by": "last"})
    parts: list[Metrics] = []
    seconds = 0.0
    for number, part in enumerate(whole.folds(settings.folds, settings.seed), 1):
        moves.restore(start)
        place = folder and folder / f"fold-{number}"
        seconds += train(part, one, place, f", fold {number} of {settings.folds}").seconds
        parts.append(evaluate(model, name, part.val, batch_size=settings.batch_size, confusion=True))
    moves.restore(start)
    all_of = TaskSet(Chosen(whole.train), whole.val, Chosen(whole.plain))
    result = train(all_of, one, folder, "")
    held_out = Metrics.pooled(parts)
    found = {f"val_{key}": value for key, value in held_out.scores.items()} | {"folds": settings.folds}
    model[name].info.metrics |= found
    best, seconds = {**result.best, **found}, result.seconds + seconds
    return replace(result, best=best, seconds=seconds, confusion={name: held_out.confusion or []})
