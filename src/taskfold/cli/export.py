from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer

from .. import MultiTask
from ..config import words_of
from ..data import Preprocessing
from ..export import export as write
from ..tasks import write_atomically
from ._images import ImageTask
from ._output import UserError, emit, say
from ._tasks import BackboneOption, InventoryOption, WeightsOption, kind_of, load_tasks


def export(
    files: Annotated[
        list[Path], typer.Argument(metavar="TASKFILES…", help="Task files (.safetensors), of images for a network.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A file to write: ….onnx or ….pt2 (torch.export); for PEFT a folder.")
    ],
    to: Annotated[Literal["network", "peft"], typer.Option(help="What to write.")] = "network",
    head: Annotated[str | None, typer.Option(help="What PEFT's network calls the head, if not as timm does.")] = None,
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    inventory: InventoryOption = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="A mixed-task network of one file too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write what runs without taskfold: a network with one task folded in, or several by index; or PEFT's adapter.

    taskfold export flowers.safetensors --output flowers.onnx

    taskfold export flowers.safetensors cars.safetensors --output both.onnx

    taskfold export flowers.safetensors --to peft --output adapters/flowers

    Beside a network a JSON file says how images become its input, what the outputs are called, and each task's index.
    """
    model, _ = load_tasks(backbone, weights, files, inventory)
    model = model.cpu()
    if to == "peft":
        _write_adapter(model, output, head, json)
        return
    size = _common_size(model)
    image, names = torch.randn(2, 3, size, size), list(model.tasks)
    facts: dict[str, Any] = {"inputs": {"image": ["batch", 3, size, size]}, "outputs": ["batch", "classes"]}
    if len(names) == 1 and not mixed:
        found = write(model.fold(names[0]), [image], output)
    else:
        bank = model.bank()
        found = write(bank, [image, bank.index([names[0], names[-1]])], output)
        facts["inputs"]["index"] = ["batch"]
        facts["note"] = "an output that a row's task does not have is -inf"
    facts["tasks"] = [
        {"name": name, "index": n, "labels": model[name].info.labels, "preprocessing": model[name].info.preprocessing}
        for n, name in enumerate(names)
    ]
    beside = output.with_suffix(".json")
    write_atomically(beside, (jsons.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())
    if json:
        emit({"file": str(output), "description": str(beside), "largest_difference": found, "tasks": names})
        return
    say(f"Wrote {output} ({output.stat().st_size / 1e6:.1f} MB) and {beside.name}.")
    say(f"Run beside the model, its outputs differ by {found:.1g} at most.")


def _write_adapter(model: MultiTask, output: Path, head: str | None, json: bool) -> None:
    if len(model.tasks) > 1:
        raise UserError(
            f"--to peft writes one task to a folder, found {', '.join(model.tasks)}; give one file at a time"
        )
    (name,) = model.tasks
    folder = model.save_peft(name, output, head=head)
    emit({"folder": str(folder), "task": name}) if json else say(f"Wrote {folder}: task {name!r} in PEFT's format.")


def _common_size(model: MultiTask) -> int:
    sizes = {}
    for name in model.tasks:
        task = model[name]
        if (kind := kind_of(task)) != ImageTask.kind:
            raise UserError(
                f"task {name!r} is for {words_of(kind)}, and this exports tasks of images; in Python, "
                "taskfold.export.export takes any module of tensors"
            )
        told = {key: value for key, value in task.info.preprocessing.items() if key in Preprocessing.model_fields}
        sizes[name] = Preprocessing.model_validate(told).size
    if len(set(sizes.values())) > 1:
        raise UserError(f"tasks of one network must take images of one size, found {sizes}; export them apart")
    return next(iter(sizes.values()))
