from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config.run import load_config
from ..data import remembering
from ..threads import Threads
from ._held import held
from ._joint import together
from ._output import UserError, say
from ._prepare import prepare
from ._threads import ThreadsOption, threaded
from ._trainings import is_main_process, one_by_one


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file: backbone, method, tasks, output.")],
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over; what was trained in the output is lost.")] = False,
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Train this task alone; may be given several times.")
    ] = None,
    threads: ThreadsOption = None,
) -> None:
    """Train the tasks of a configuration: one after another, so that none moves another, or all together.

    What is finished is read and not trained again, and what was interrupted goes on where it was: run the same
    command. A task whose settings or data have changed is trained again; its file before stays as a version. Writes
    <output>/tasks/<name>.safetensors, <output>/results.json and <output>/report.html; with `together` and a method
    that shares, also <output>/inventory.safetensors; with `together: {groups: …}` one in <output>/group-<n> for each.
    """
    whole = threaded(load_config(config), threads)
    plan = whole.only(task) if task else whole
    if task and whole.together:
        raise UserError(
            f"--task {task[0]}: {config} trains its tasks together; leave --task out, or leave out together"
        )
    try:
        if is_main_process():
            names = [task.name for task in plan.tasks]
            who = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            say(f"Checking {plan.backbone.label} and the data of {who} …", "dim")
        with remembering(plan.output / ".contents.json"):
            opened, tasks = prepare(plan)
            with held(plan.output), Threads(None):  # what tests a task has as many threads as its training ended with
                if plan.together:
                    story = together(plan, opened, tasks, fresh)
                else:
                    story = one_by_one(plan, opened, tasks, fresh, whole)
                if story:
                    story.finish()
    except KeyboardInterrupt:
        say(f"Interrupted. To go on from the last checkpoint: taskfold train {config}", "yellow")
        raise typer.Exit(130) from None
