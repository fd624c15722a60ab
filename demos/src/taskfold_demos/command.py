"""`taskfold demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taskfold.threads import chosen, parsed

from .jobs import DEMOS, Compare


def demo(
    name: Annotated[
        str,
        typer.Argument(
            help="tasks: images, one task after another on one backbone. routing: words of many languages, an "
            "inventory that they share, and new languages from 32 examples. dense: segmentation, depth and normals of "
            "rendered rooms from one network, over-parameterised in training."
        ),
    ] = "tasks",
    quick: Annotated[bool, typer.Option("--quick", help="In seconds: two tasks, few small samples.")] = False,
    compare: Annotated[
        Compare, typer.Option(help="default: three methods; all: the others too, and FTN at three ranks.")
    ] = "default",
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions, for mean and spread.")] = 1,
    threads: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Torch's threads in training; auto: the fastest, by measurement. Default: OMP_NUM_THREADS, or auto.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Processes that train methods side by side, for `tasks`. Default: one for each core; 1 with --quick.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for results.json, report.html and task files; demo, or demo/NAME.", show_default=False
        ),
    ] = None,
) -> None:
    """The main jobs on real data: methods side by side, proofs, a report.

    taskfold demo

    taskfold demo routing --compare all --seeds 3
    """
    if name not in DEMOS:
        raise ValueError(f"there is no demonstration {name!r}; choose one of {', '.join(DEMOS)}")
    words = [
        "taskfold demo",
        *([name] if name != "tasks" else []),
        *(["--quick"] if quick else []),
        *([f"--compare {compare}"] if compare != "default" else []),
        *([f"--seeds {seeds}"] if seeds > 1 else []),
        *([f"--threads {threads}"] if threads else []),
        *([f"--processes {processes}"] if processes else []),
        *([f"--out {out}"] if out else []),
    ]
    folder = out or (Path("demo") if name == "tasks" else Path("demo", name))
    DEMOS[name](compare, seeds, quick, chosen(parsed(threads)), processes)(folder, command=" ".join(words))
