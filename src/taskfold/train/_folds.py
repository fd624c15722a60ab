"""Cross-validation of a small task: every sample is held out once, and the final training has all of them."""

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
"""(data, settings without folds, folder, what is added to the label) → a training of the task from where it is."""


class Chosen(Dataset[Any]):
    """Some samples of several data sets laid end to end, which are told the epoch.

    Args:
        parts: the data sets.
        indices: of the samples; None: all.
    """

    def __init__(self, parts: Sequence[Dataset[Any]], indices: Sequence[int] | None = None) -> None:
        self.parts = tuple(parts)
        self.offsets = np.cumsum([0, *(len(part) for part in parts)])  # type: ignore[arg-type]
        self.indices = range(int(self.offsets[-1])) if indices is None else indices

    def set_epoch(self, epoch: int) -> None:
        """Choose the augmentation of this epoch."""
        for part in self.parts:
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)  # type: ignore[attr-defined]

    @property
    def targets(self) -> np.ndarray:
        """The class of each."""
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
        train: augmented, as far as the training samples were.
        plain: as they are.
        keys: what is equal for samples that are to be held out together.
        val: the validation samples, which the curve of the final training is of.
    """

    train: Sequence[Dataset[Any]]
    plain: Sequence[Dataset[Any]]
    keys: Sequence[Hashable]
    val: Dataset[Any]

    @classmethod
    def of(cls, data: TaskSet) -> Whole:
        """Those of a task; those of validation are augmented like those of training if their data set can (`over`)."""
        over = getattr(data.train, "over", None)
        more = over(data.val) if over is not None and type(data.train) is type(data.val) else data.val
        plain = (data.unaugmented, data.val)
        keys: list[Hashable] = []
        for n, part in enumerate(plain):
            keys += getattr(part, "equal_keys", None) or [(n, index) for index in range(check_data(part, "the data"))]
        return cls((data.train, more), plain, keys, data.val)

    def folds(self, count: int, seed: int) -> Iterator[TaskSet]:
        """For each fold the samples to train on, and those that are held out: of each class as many, up to one."""
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
    """Train on all samples but those of one fold, for each fold, and then on all of them.

    Args:
        model, name: the task; its present weights are the start of each training.
        data: taken together.
        settings: with `folds`.
        moves: what its training moves.
        folder: `fold-1`, … are made in it, so that an interrupted run goes on; None: nothing is kept.
        train: one training.

    Raises:
        ValueError: the method changes its ranks while it trains, or there are fewer samples than folds.

    Returns:
        The final training; what it says of validation is measured on every sample by the task that had not seen it.
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
