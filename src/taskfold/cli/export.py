from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from torch import Tensor, nn

from .. import MultiTask
from ..export import export as write
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
    model, loaded = load_tasks(backbone, weights, files, inventory)
    model, names = model.cpu(), list(model.tasks)
    if to == "peft":
        _write_adapter(model, output, head, json)
        return
    if len(kinds := {kind_of(model[name]) for name in names}) > 1:
        said = ", ".join(sorted(kinds))
        raise UserError(f"tasks of one network must be of one kind, found {said}; export them apart")
    given = ready_kind(kinds.pop()).example(model, loaded)
    inputs = {name: ["batch", *one.shape[1:]] for name, one in given.items()}
    facts: dict[str, Any] = {"inputs": inputs, "outputs": ["batch", "outputs"]}
    if len(given) > 1 and (mixed or len(names) > 1):
        raise UserError(f"a network of several tasks takes one input, and these take {', '.join(given)}; export each")
    if len(names) == 1 and not mixed:
        found = write(Folded(model.fold(names[0])), [*given.values()], output, names=[*given])
    else:
        bank = model.bank()
        found = write(bank, [*given.values(), bank.index([names[0], names[-1]])], output, names=[*given, "index"])
        facts["inputs"]["index"] = ["batch"]
        facts["note"] = "an output that a row's task does not have is -inf"
    facts["tasks"] = [
        {
            "name": name,
            "index": n,
            "labels": model[name].info.labels,
            "problem": problem_of(model[name].info.problem, name).as_json(),
            "preprocessing": model[name].info.preprocessing,
        }
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


class Folded(nn.Module):
    """A folded task that takes all the inputs of its network."""

    def __init__(self, folded: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(folded if isinstance(folded, nn.Sequential) else [folded])

    def forward(self, *args: Tensor) -> Any:
        """The output of the task."""
        network, *rest = self.parts
        found = network(*args)
        for module in rest:
            found = module(found)
        return found
