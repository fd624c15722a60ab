from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ..config.compare import load_compare
from ..threads import Threads
from ._compare import Comparison
from ._output import UserError, say
from ._threads import ThreadsOption, threaded


def compare(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file: backbone, compare, tasks, output.")],
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over; delete the comparison in the output.")] = False,
    threads: ThreadsOption = None,
) -> None:
    """Compare methods on your tasks: each searched alike on validation data, then trained with several seeds.

    Every method has the same number of trials, for its learning rate and what `search` lists; test data take no part.
    Run the same command again to resume; finished parts are read. Writes
    <output>/results.json, <output>/report.html, and the task files of every run.
    """
    plan = threaded(load_compare(config), threads)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("taskfold compare runs in one process; start it without a launcher")
    try:
        with Threads(None):  # a task is tested with the number of threads that its training ended with
            Comparison.open(plan, fresh).run()
    except KeyboardInterrupt:
        say(f"Interrupted. To go on where it was: taskfold compare {config}", "yellow")
        raise typer.Exit(130) from None
