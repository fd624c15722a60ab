"""Threads of torch, as a command is told."""

from __future__ import annotations

from typing import Annotated, TypeVar

import typer

from ..config import Plan
from ..config.run import Config
from ..threads import Choice, chosen
from ..train import Settings

P = TypeVar("P", bound=Plan)
S = TypeVar("S", bound=Settings)


def _parsed(text: str) -> int | str:
    if text == "auto" or (text.isdecimal() and int(text)):
        return text if text == "auto" else int(text)
    raise typer.BadParameter(f"must be a whole number ≥ 1 or auto, found {text!r}")


ThreadsOption = Annotated[
    str | None,
    typer.Option(
        parser=_parsed,
        metavar="N|auto",
        help="Torch's threads on a CPU; auto: the fastest, by measurement. Default: OMP_NUM_THREADS, or auto.",
        show_default=False,
    ),
]


def threaded(plan: P, option: Choice) -> P:
    """The configuration with the option, or else what it says itself, or what holds where nothing is said."""

    def settled(settings: S) -> S:
        return settings.model_copy(update={"threads": chosen(option, settings.threads)})

    tasks = tuple(task.model_copy(update={"train": settled(task.train)}) for task in plan.parts)
    update: dict[str, object] = {"tasks": tasks}
    if isinstance(plan, Config) and plan.together:
        update["together"] = settled(plan.together)
    return plan.model_copy(update=update)
