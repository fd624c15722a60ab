"""TorchJD's aggregators by name: they combine conflicting gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

Balance = Literal["upgrad", "mgda", "pcgrad", "dualproj", "imtl-g", "aligned-mtl", "config"]
_CLASSES: dict[str, str] = {
    "upgrad": "UPGrad",
    "mgda": "MGDA",
    "pcgrad": "PCGrad",
    "dualproj": "DualProj",
    "imtl-g": "IMTLG",
    "aligned-mtl": "AlignedMTL",
    "config": "ConFIG",
}
"""Aggregators without state between steps, so that a run can resume exactly."""


def aggregator(name: Balance) -> Callable[[Tensor], Tensor]:
    """An aggregator: Jacobian `[tasks, numbers]` → direction `[numbers]`.

    Raises:
        ImportError: TorchJD, or another package that this aggregator needs, is not installed.

    Example:
        >>> import torch
        >>> jacobian = torch.tensor([[2.0, 0.0], [-1.0, 1.0]])  # two tasks that conflict
        >>> direction = aggregator("upgrad")(jacobian)
        >>> bool((jacobian @ direction >= 0).all())
        True
    """
    try:
        import torchjd.aggregation  # noqa: PLC0415 - an optional extra

        return getattr(torchjd.aggregation, _CLASSES[name])()
    except ImportError as error:
        raise ImportError(f'balance={name!r} needs TorchJD: pip install "taskfold[balance]" ({error})') from error
