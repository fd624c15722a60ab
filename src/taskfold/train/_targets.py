"""The classes of a data set's samples, read without loading samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from ..evaluate import check_data


def targets_of(data: Dataset[Any], why: str) -> np.ndarray:
    """`[N]` class indices: a `TensorDataset`'s last tensor, or an attribute `targets`, as torchvision's sets have it.

    Args:
        data: the data set, or a `Subset` or `ConcatDataset` of such sets.
        why: the setting that needs them, for the error.

    Raises:
        ValueError: the data set has no such classes, or they are not class indices.
    """
    found = np.asarray(_found(data, why))
    if found.shape != (check_data(data, "train"),) or not np.issubdtype(found.dtype, np.integer) or found.min() < 0:
        raise ValueError(
            f"{why}: targets of the training data must be one class index ≥ 0 for each of {len(data)} samples, "  # type: ignore[arg-type]
            f"found {found.dtype} {list(found.shape)}; leave {why.partition('=')[0]} out for other data"
        )
    return found


def _found(data: Dataset[Any], why: str) -> Any:
    if isinstance(data, Subset):
        return np.asarray(_found(data.dataset, why))[np.asarray(data.indices)]
    if isinstance(data, ConcatDataset):
        return np.concatenate([np.asarray(_found(one, why)) for one in data.datasets])
    found = data.tensors[-1] if isinstance(data, TensorDataset) else getattr(data, "targets", None)
    if found is None:
        raise ValueError(
            f"{why} needs the class of every training sample beforehand, and {type(data).__name__} does not tell; give "
            "it an attribute targets, a class index for each sample"
        )
    return found.numpy(force=True) if isinstance(found, Tensor) else found


def class_weights(targets: np.ndarray, classes: int) -> list[float]:
    """A weight for each class, N / (classes present · images of the class): the mean over samples is 1.

    Example:
        >>> class_weights(np.array([0, 0, 0, 2]), 3)
        [0.6666666666666666, 0.0, 2.0]
    """
    counts = np.bincount(targets, minlength=classes)
    present = np.count_nonzero(counts)
    return [float(len(targets) / (present * n)) if n else 0.0 for n in counts]


def check_targets(trained: Mapping[str, Mapping[str, Any]], members: Sequence[Sequence[int]]) -> None:
    """Checks that a whole epoch had a target for each task of each data set.

    Args:
        trained: `train_loss` by task; None: no target.
        members: the tasks' numbers for each data set.

    Raises:
        ValueError: a task had no target.
    """
    never = [name for name, found in trained.items() if found["train_loss"] is None]
    if never and any(len(several) > 1 for several in members):
        raise ValueError(
            f"task {', '.join(map(repr, never))}: none of the training samples has a target for it; leave it out, or "
            "give data that have some"
        )
