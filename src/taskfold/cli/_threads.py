"""The `--threads` option."""

from __future__ import annotations

from typing import Annotated, TypeVar

import typer

from ..config import Plan
from ..config.run import Config
from ..threads import chosen, parsed
from ..train import Settings

P = TypeVar("P", bound=Plan)
S = TypeVar("S", bound=Settings)


ThreadsOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto",
        help="Torch's threads on a CPU; auto: the fastest, by measurement. Default: OMP_NUM_THREADS, or auto.",
        show_default=False,
    ),
]


def threaded(plan: P, option: str | None) -> P:
    """The configuration with the option, else its own setting, else the default."""
    said = parsed(option)

    def settled(settings: S) -> S:
        return settings.model_copy(update={"threads": chosen(said, settings.threads)})

    tasks = tuple(task.model_copy(update={"train": settled(task.train)}) for task in plan.parts)
    update: dict[str, object] = {"tasks": tasks}
    if isinstance(plan, Config) and plan.together:
        update["together"] = settled(plan.together)
    return plan.model_copy(update=update)
