from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from torch import Tensor

from .. import MultiTask
from ..export import export as write
from ..export import export_adapter, export_triton
from ..problems import problem_of
from ..tasks import write_atomically
from ._output import UserError, emit, say
from ._prepare import ready_kind
from ._tasks import BackboneOption, InventoryOption, WeightsOption, kind_of, load_tasks


def export(
    files: Annotated[list[Path], typer.Argument(metavar="TASKFILES…", help="Task files (.safetensors).")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A file to write: ….onnx or ….pt2 (torch.export); for PEFT a folder.")
    ],
    to: Annotated[Literal["network", "peft"], typer.Option(help="What to write.")] = "network",
    head: Annotated[str | None, typer.Option(help="The head's name in PEFT's network; default: timm's.")] = None,
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    inventory: InventoryOption = None,
    triton: Annotated[
        bool,
        typer.Option("--triton", help="A folder for Triton: a mixed-task network, its tasks in a file of their own."),
    ] = False,
    adapters: Annotated[
        bool, typer.Option("--adapters", help="One ONNX graph, written if missing, and an .onnx_adapter of each task.")
    ] = False,
    mixed: Annotated[bool, typer.Option("--mixed", help="A mixed-task network, even of one task file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a network that runs without taskfold, with one task folded in or several by index; or PEFT's adapter.

    taskfold export flowers.safetensors --output flowers.onnx

    taskfold export flowers.safetensors cars.safetensors --output both.onnx

    taskfold export flowers.safetensors --to peft --output adapters/flowers

    taskfold export flowers.safetensors cars.safetensors --triton --output models/customers

    taskfold export flowers.safetensors --adapters --output edge/network.onnx

    Beside a network a JSON file has the preprocessing of images, the names of the outputs, and each task's index.
    """
    model, loaded = load_tasks(backbone, weights, files, inventory)
    model, names = model.cpu(), list(model.tasks)
    if sum((to == "peft", triton, adapters)) > 1 or (mixed and (to == "peft" or adapters)):
        raise UserError("--to peft, --triton, --adapters and --mixed are several ways to write; give one of them")
    if to == "peft":
        _write_adapter(model, output, head, json)
        return
    if len(kinds := {kind_of(model[name]) for name in names}) > 1:
        said = ", ".join(sorted(kinds))
        raise UserError(f"tasks of one network must be of one kind, found {said}; export them apart")
    given = ready_kind(kinds.pop()).example(model, loaded)
    inputs = {name: ["batch", *one.shape[1:]] for name, one in given.items()}
    tasks = [_task(model, name, n) for n, name in enumerate(names)]
    if adapters:
        _write_adapters(model, given, output, tasks, json)
        return
    facts: dict[str, Any] = {"inputs": inputs, "outputs": ["batch", "outputs"]}
    if len(given) > 1 and (mixed or triton or len(names) > 1):
        raise UserError(f"a network of several tasks takes one input, and these take {', '.join(given)}; export each")
    if triton:
        bank = model.bank()
        examples = [*given.values(), bank.index([names[0], names[-1]])]
        found = export_triton(bank, examples, output, names=[*given, "index"], tasks=tasks)
        done = {"folder": str(output), "largest_difference": found, "tasks": names}
        emit(done) if json else say(f"Wrote {output} for Triton; its outputs differ by {found:.1g} at most.")
        return
    if len(names) == 1 and not mixed:
        found = write(model.fold(names[0]), [*given.values()], output, names=[*given])
    else:
        bank = model.bank()
        found = write(bank, [*given.values(), bank.index([names[0], names[-1]])], output, names=[*given, "index"])
        facts["inputs"]["index"] = ["batch"]
        facts["note"] = "an output that a row's task does not have is -inf"
    facts["tasks"] = tasks
    beside = output.with_suffix(".json")
    write_atomically(beside, (jsons.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())
    if json:
        emit({"file": str(output), "description": str(beside), "largest_difference": found, "tasks": names})
        return
    say(f"Wrote {output} ({output.stat().st_size / 1e6:.1f} MB) and {beside.name}.")
    say(f"Run beside the model, its outputs differ by {found:.1g} at most.")


def _task(model: MultiTask, name: str, index: int) -> dict[str, Any]:
    """The entry of a task for programs that run the network."""
    info = model[name].info
    problem = problem_of(info.problem, name).as_json()
    said = {"labels": info.labels, "problem": problem, "preprocessing": info.preprocessing}
    return {"name": name, "index": index, **said}


def _write_adapters(
    model: MultiTask, given: dict[str, Tensor], graph: Path, tasks: list[dict[str, Any]], json: bool
) -> None:
    """Writes a graph, and two files of each task beside it."""
    differences: dict[str, float] = {}
    for task in tasks:
        name, place = task["name"], graph.parent / f"{task['name']}.onnx_adapter"
        differences[name] = export_adapter(model, name, [*given.values()], graph, place, names=[*given])
        facts = {"graph": graph.name, "inputs": [*given], **{key: task[key] for key in task if key != "index"}}
        text = jsons.dumps(facts, indent=1, ensure_ascii=False) + "\n"
        write_atomically(graph.parent / f"{name}.json", text.encode())
        if not json:
            say(f"Wrote {place} ({place.stat().st_size / 1e3:.1f} kB): differs by {differences[name]:.1g} at most.")
    if json:
        emit({"graph": str(graph), "largest_differences": differences})


def _write_adapter(model: MultiTask, output: Path, head: str | None, json: bool) -> None:
    if len(model.tasks) > 1:
        raise UserError(
            f"--to peft writes one task to a folder, found {', '.join(model.tasks)}; give one file at a time"
        )
    (name,) = model.tasks
    folder = model.save_peft(name, output, head=head)
    emit({"folder": str(folder), "task": name}) if json else say(f"Wrote {folder}: task {name!r} in PEFT's format.")
