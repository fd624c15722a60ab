from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import MultiTask
from ..config.run import Config, load_config
from ..data import ImageTensors
from ..evaluate import Metrics, evaluate
from ..report import record, summary_table, write_report
from ..tasks import write_atomically
from ..train import Result, train_task
from ._output import UserError, say, show
from ._prepare import Ready, prepare
from ._same_data import claim


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file: backbone, method, tasks, output.")],
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over; what was trained in the output is lost.")] = False,
) -> None:
    """Train every task of a configuration, one after another; none moves another.

    Tasks that are finished are not trained again, and one that was interrupted goes on where it was: run the same
    command. Writes <output>/tasks/<name>.safetensors, <output>/results.json and <output>/report.html.
    """
    plan = load_config(config)
    try:
        _run(plan, fresh)
    except KeyboardInterrupt:
        say(f"Interrupted. To go on from the last checkpoint: taskfold train {config}", "yellow")
        raise typer.Exit(130) from None


def _run(plan: Config, fresh: bool) -> None:
    start, main = time.monotonic(), _is_main_process()
    if main:
        say(f"Checking {plan.backbone.model} and the data of {', '.join(task.name for task in plan.tasks)} …", "dim")
    model, loaded, tasks = prepare(plan)
    labels = record.labels_of({task.name: task.config.method for task in tasks})
    runs: list[dict[str, Any]] = []
    document: dict[str, Any] = {
        "version": 1,
        "title": plan.path.stem,
        "command": f"taskfold train {plan.path}",
        "backbone": record.backbone_record(loaded),
        "tasks": [record.task_record(task.data, task.config.source.origin) for task in tasks],
        "runs": runs,
    }
    for number, task in enumerate(tasks, 1):
        result = _train(plan, model, task, f"{task.name} ({number}/{len(tasks)})", fresh, main)
        test = evaluate(model, task.name, ImageTensors(task.data.test, task.preprocessing))
        model[task.name].info.metrics |= {"test_accuracy": test.accuracy, "test_loss": test.loss}
        if not main:
            continue
        runs.append(
            {
                **record.run_record(model, task.name, result, test),
                "label": labels[task.name],
                "seed": task.config.train.seed,
                "predictions": record.sample_records(model, task.data, task.preprocessing),
            }
        )
        document |= {"seconds": time.monotonic() - start, "environment": record.environment(model)}
        _save(plan, model, task, document)
        say(f"{task.name}: {_summary(result, test)}")
    if main:
        _finish(plan, document)


def _train(plan: Config, model: MultiTask, task: Ready, label: str, fresh: bool, main: bool) -> Result:
    folder, settings = plan.run_folder(task.config), task.config.train
    if main:
        claim(folder, task, new=fresh or not (folder / "checkpoint.safetensors").exists())
    augmented = task.preprocessing.flip or task.preprocessing.crop != "none"
    data = task.data
    try:
        return train_task(
            model,
            task.name,
            ImageTensors(data.train, task.preprocessing, train=True, seed=settings.seed),
            ImageTensors(data.val, task.preprocessing),
            settings,
            folder=folder,
            plain=ImageTensors(data.train, task.preprocessing) if augmented else None,
            label=label,
            fresh=fresh,
        )
    except ValueError as error:
        message = str(error).replace("another folder", "another output").replace("fresh=True", "--fresh")
        raise UserError(message) from error


def _save(plan: Config, model: MultiTask, task: Ready, document: dict[str, Any]) -> None:
    """The task, then the results so far, which name only what has been saved."""
    file = plan.task_file(task.config)
    file.parent.mkdir(parents=True, exist_ok=True)
    model.save_task(task.name, file)
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    write_atomically(plan.output / "results.json", text.encode())


def _finish(plan: Config, document: dict[str, Any]) -> None:
    show(summary_table(document))
    try:
        report = write_report(document, plan.output / "report.html")
    except ImportError as error:
        say(f"No report: {error}", "yellow")
        return
    say(f"Task files are in {plan.output / 'tasks'}, the report is {report}")


def _summary(result: Result, test: Metrics) -> str:
    how = {"finished": "trained", "early": "stopped early"}[result.stopped]
    return (
        f"{how} in {result.seconds:.0f} s, best epoch {result.best_epoch} of {len(result.curve)}, "
        f"test accuracy {test.accuracy:.1%} on {test.count:,} images"
    )


def _is_main_process() -> bool:
    """Before Accelerate has started, its launcher's environment says which process this is."""
    return os.environ.get("RANK", "0") == "0"
