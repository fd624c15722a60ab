"""Sends the numbers of a training's log to Accelerate's trackers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

from .settings import Settings

PROJECT = "taskfold"
_TRACKED = ("step", "epoch")
_PACKAGES = {"tensorboard": "tensorboardX"}


def check_trackers(settings: Settings, folder: str | Path | None) -> None:
    """Checks that the trackers of the settings can run.

    Raises:
        ImportError: a tracker's package is not installed.
        ValueError: a tracker writes into the run's folder, and there is none.
    """
    here = {str(one) for one in get_available_trackers()} if settings.log_with else set()
    for name in _names(settings):
        if name not in here:
            raise ImportError(f"log_with={name!r} needs its package: pip install {_PACKAGES.get(name, name)}")
        if folder is None and LOGGER_TYPE_TO_CLASS[name].requires_logging_directory:
            raise ValueError(f"log_with={name!r} writes into the folder of the run, and there is none; give folder=…")


def track(accelerator: Accelerator, settings: Settings, folder: Path | None) -> None:
    """Start the trackers that the settings name."""
    if names := _names(settings):
        accelerator.log_with.extend(names)
        accelerator.project_configuration.set_directories(None if folder is None else str(folder))
        accelerator.init_trackers(PROJECT, dict(_flat(settings.model_dump(), (int, float, str))))


def tell(accelerator: Accelerator, event: str, fields: Mapping[str, Any]) -> None:
    """Send the numbers of a log line, if it is a step's or an epoch's."""
    if accelerator.trackers and event in _TRACKED:
        numbers = {f"{event}/{key}": one for key, one in _flat(fields, (int, float))}
        _each(accelerator, lambda tracker: tracker.log(numbers, step=fields["step"]))


def finish(accelerator: Accelerator) -> None:
    """End the trackers' run; the processes stay connected."""
    _each(accelerator, lambda tracker: tracker.finish())
    accelerator.trackers = []


def _each(accelerator: Accelerator, do: Callable[[GeneralTracker], Any]) -> None:
    """Asks each tracker; one that fails is asked no more, and the training goes on."""
    for tracker in [*accelerator.trackers]:
        try:
            do(tracker)
        except Exception as error:  # a tracker's own, of whatever kind
            accelerator.trackers.remove(tracker)
            warnings.warn(
                f"log_with={tracker.name!r} has failed ({type(error).__name__}: {error}) and gets no more numbers; the "
                "training goes on, and log.jsonl has them all",
                stacklevel=2,
            )


def _names(settings: Settings) -> tuple[str, ...]:
    return (settings.log_with,) if isinstance(settings.log_with, str) else settings.log_with


def _flat(values: Mapping[str, Any], kinds: tuple[type, ...], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, kinds, f"{before}{key}/")
        elif isinstance(value, kinds):
            yield f"{before}{key}", value
