"""Scores from torchmetrics."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def metrics(module: str = "torchmetrics.functional") -> Any:
    """A module of torchmetrics.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(f'scores of this task need {error.name}: pip install "taskfold[train]"') from error
