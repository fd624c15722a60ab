from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..config.run import load_config
from ..data import remembering
from ..threads import Threads
from ..train import Result
from ._held import held
from ._joint import together
from ._optimisers import early
from ._output import UserError, say
from ._prepare import prepare
from ._side_by_side import side_by_side
from ._threads import ThreadsOption, threaded
from ._trainings import Todo, each_by_itself, is_main_process
from ._workers import run_workers


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file: backbone, method, tasks, output.")],
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over; delete the trainings in the output.")] = False,
    task: Annotated[list[str] | None, typer.Option("--task", help="Train only this task; may be repeated.")] = None,
    pack: Annotated[
        bool, typer.Option("--pack", help="Train tasks side by side: rows of many tasks share a pass.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Train packs in N processes, one thread each.")
    ] = None,
    cluster: Annotated[
        Literal["local", "slurm"] | None, typer.Option("--cluster", help="Where the processes run. Default: local.")
    ] = None,
    threads: ThreadsOption = None,
    worker: Annotated[int | None, typer.Option("--worker", hidden=True)] = None,
) -> None:
    """Train the tasks of a configuration: one after another, so that training one moves no other, or all together.

    Run the same command again to resume: finished tasks are read and not trained.
    A task whose settings or data have changed is trained again; its earlier file stays as a version. Writes
    <output>/tasks/<name>.safetensors, <output>/results.json and <output>/report.html; with `together` and a method
    that shares, also <output>/inventory.safetensors; with `together: {groups: …}` one in <output>/group-<n> for each.
    """
    whole = threaded(load_config(config), threads)
    plan = whole.only(task) if task else whole
    pack = pack or processes is not None or worker is not None
    for option, given in {f"--task {(task or [''])[0]}": task, "--pack": pack}.items():
        if given and whole.together:
            raise UserError(
                f"{option}: {config} trains its tasks together; leave {option.split()[0]} out, or leave out together"
            )
    if cluster and processes is None:
        raise UserError(f"--cluster {cluster} needs --processes, how many packs to send there")
    if threads and processes is not None:
        raise UserError(f"--threads {threads}: each of the --processes has one thread; leave --threads out")

    def side(todo: Sequence[Todo], done: Callable[[Todo, Result], None]) -> None:
        side_by_side(plan, opened.model, todo, fresh, f"pack-{worker}" if worker else "pack", done)

    try:
        if is_main_process():
            names = [task.name for task in plan.tasks]
            who = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            say(f"Checking {plan.backbone.label} and the data of {who} …", "dim")
        with remembering(plan.output / ".contents.json"):
            opened, tasks = prepare(plan, early(plan, plan is whole))
            # A task is tested with the number of threads that its training ended with.
            with held(plan.output) if worker is None else nullcontext(), Threads(None):
                if processes is not None:
                    run_workers(config, plan.output, [one.name for one in tasks], processes, cluster or "local", fresh)
                    fresh = False
                if plan.together:
                    story = together(plan, opened, tasks, fresh)
                else:
                    story = each_by_itself(plan, opened, tasks, fresh, whole, side if pack else None, worker is None)
                if story and worker is None:
                    story.finish()
    except KeyboardInterrupt:
        how = f" --processes {processes}" if processes else " --pack" if pack else ""
        say(f"Interrupted. To go on from the last checkpoint: taskfold train {config}{how}", "yellow")
        raise typer.Exit(130) from None
