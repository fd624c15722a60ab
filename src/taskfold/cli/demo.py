from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..demo import Compare, plan, run_demo


def demo(
    quick: Annotated[bool, typer.Option("--quick", help="In seconds: two tasks, few small images.")] = False,
    compare: Annotated[
        Compare, typer.Option(help="default: head only, FTN, fine-tuning; all: more methods, FTN at three ranks.")
    ] = "default",
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions, for mean and spread.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for results.json, report.html and task files.")] = Path("demo"),
) -> None:
    """The main job on real data: several tasks on one backbone, methods side by side, proofs, a report."""
    words = [
        "taskfold demo",
        *(["--quick"] if quick else []),
        *([f"--compare {compare}"] if compare != "default" else []),
        *([f"--seeds {seeds}"] if seeds > 1 else []),
        *([f"--out {out}"] if out != Path("demo") else []),
    ]
    run_demo(plan(compare, seeds=seeds, quick=quick), out, command=" ".join(words))
