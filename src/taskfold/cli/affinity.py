from __future__ import annotations

import json as encoding
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from ..config import in_words
from ..config.run import load_config
from ..report import record, summary_table, write_report
from ..tasks import write_atomically
from ..train import AffinitySettings
from ._groups import measured, method_label
from ._held import held
from ._optimisers import early
from ._output import UserError, emit, say, show
from ._prepare import prepare

Measure = Literal["linear", "lookahead", "cosine"]


def affinity(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file whose tasks share (together).")],
    groups: Annotated[int | None, typer.Option(help="Groups to propose; default: as many as gain most.")] = None,
    by: Annotated[Measure | None, typer.Option(help="The measure that decides the groups.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the short joint training.")] = None,
    every: Annotated[int | None, typer.Option(help="Steps between two measurements.")] = None,
    lookahead: Annotated[bool | None, typer.Option(help="Also take each step and measure the loss.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again, even if a measurement is there.")] = False,
) -> None:
    """Measure which tasks help and which hurt one another through shared factors, and propose groups.

    Trains the tasks together for a few steps and measures how a step for one affects the others; discards the training.
    Options left out come from `together.affinity`. Writes <output>/affinity/results.json and report.html; with
    `together: {groups: auto}`, taskfold train uses these groups.
    """
    plan = load_config(config)
    said = {"groups": groups, "by": by, "steps": steps, "every": every, "lookahead": lookahead}
    base = plan.together.affinity if plan.together else AffinitySettings()
    asked = {**base.model_dump(), **{key: value for key, value in said.items() if value is not None}}
    try:
        how = AffinitySettings.model_validate(asked)
    except ValidationError as error:
        raise in_words("taskfold affinity", error, asked, AffinitySettings) from None
    if how.groups is not None and how.groups > len(plan.tasks):
        raise UserError(f"groups={how.groups} must be at most the number of tasks, {len(plan.tasks)}")
    opened, tasks = prepare(plan, early(plan, True))
    with held(plan.output):
        found = measured(plan, opened, tasks, how, fresh)
    document = {
        "version": 1,
        "title": f"{plan.path.stem}: affinity",
        "command": f"taskfold affinity {plan.path}",
        "seconds": found.seconds,
        "environment": record.environment(opened.model),
        "backbone": record.backbone_record(opened.loaded),
        "tasks": [task.record for task in tasks],
        "affinity": [record.affinity_record(found, method_label(plan))],
        "comparisons": record.affinity_tables(found),
    }
    folder = plan.output / "affinity"
    text = encoding.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    write_atomically(folder / "results.json", text.encode())
    if json:
        emit(found.as_json())
    else:
        show(summary_table(document))
    try:
        say(f"The report is {write_report(document, folder / 'report.html')}")
    except ImportError as error:
        say(f"No report: {error}", "yellow")
