from __future__ import annotations

from typing import Annotated

import torch
import typer
from rich import box
from rich.table import Table
from torch import nn

from .. import counting
from ..config import LoadedNetwork, build_method, parse_backbone, parse_settings
from ..methods import names
from ._output import emit, show


def count(
    model: Annotated[
        str,
        typer.Option(help="timm:NAME, torchvision:NAME, hf:NAME, module:function, or '{network: segnet, width: 16}'."),
    ],
    method: Annotated[str, typer.Option(help=f"One of {', '.join(names())}.")] = "ftn",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method; may be repeated.")
    ] = None,
    tasks: Annotated[int, typer.Option(min=1, help="Number of tasks.")] = 1,
    head: Annotated[
        int | None, typer.Option(min=1, help="Outputs of each task's head, or its channels; none if not given.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count the parameters of a method on an architecture, exactly; no weights are loaded or fetched.

    taskfold count --model timm:resnet34 --method ftn --set rank=1 --json
    """
    made = build_method(method, parse_settings(set_ or []))
    loaded = parse_backbone(model, "--model").load(meta=True)
    outputs: int | nn.Module | None = head
    if head is not None and isinstance(loaded, LoadedNetwork):
        with torch.device("meta"):
            outputs = loaded.heads(head)
    found = counting.count(loaded.network, made, tasks=tasks, head=outputs)
    if json:
        emit(found.as_json())
    else:
        show(_table(found, f"{method} on {model}", tasks))


def _table(found: counting.Count, title: str, tasks: int) -> Table:
    table = Table("", "parameters", "of backbone", title=title, box=box.SIMPLE, title_justify="left")
    table.columns[1].justify = table.columns[2].justify = "right"
    rows = {"backbone": found.backbone}
    rows |= {f"per task: {kind}": number for kind, number in found.per_task.items()}
    rows |= {"shared by all": found.shared, "routing, all tasks": found.routing}
    rows |= {"shared by all: bits": found.shared_bits} if found.shared_bits else {}
    rows[f"adapters of {tasks} task{'s' * (tasks > 1)}, without heads"] = found.adapter_total
    if found.contracted is not None:
        rows["a task, folded into a plain network"] = found.contracted
    for name, number in rows.items():
        bits = name.endswith(": bits")  # a parameter of the backbone is 32 of them
        share = number / (found.backbone * (32 if bits else 1)) if found.backbone else None
        table.add_row(name, f"{number:,}{' bits' * bits}", "" if share is None else f"{share:.2%}")
    return table
