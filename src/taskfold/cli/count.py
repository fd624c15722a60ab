from __future__ import annotations

import warnings
from typing import Annotated

import torch
import typer
from rich import box
from rich.table import Table
from torch import nn

from .. import MultiTask, counting
from ..config import LoadedNetwork, build_method, parse_backbone, parse_settings
from ..methods import Method, names
from ..model import AdaptationWarning, Summary
from ..operations import MultiplyAdds
from ._count_operations import as_json, operations, table_rows
from ._output import UserError, emit, show


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
        int | None, typer.Option(min=1, help="Outputs or channels of each task's head; default: no head.")
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also list the adapted layers by block, and why others are not adapted.")
    ] = False,
    flops: Annotated[
        bool, typer.Option("--flops", help="Also the multiply-adds of one forward pass, unfolded and folded.")
    ] = False,
    input_: Annotated[
        str | None,
        typer.Option("--input", metavar="SIZE", help="One input, for --flops: 3x224x224; or tokens: 128, 128+32."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count the parameters of a method on an architecture, exactly; no weights are loaded or downloaded.

    taskfold count --model timm:resnet34 --method ftn --set rank=1 --flops --json

    taskfold count --model timm:convnext_tiny --method lora --layers
    """
    if input_ is not None and not flops:
        raise UserError("--input is of --flops, which is not given; add it, or leave --input out")
    made = build_method(method, parse_settings(set_ or []))
    loaded = parse_backbone(model, "--model").load(meta=True)
    outputs: int | nn.Module | None = head
    if head is not None and isinstance(loaded, LoadedNetwork):
        with torch.device("meta"):
            outputs = loaded.heads(head)
    found = counting.count(loaded.network, made, tasks=tasks, head=outputs)
    counted = operations(loaded, made, input_, outputs) if flops else None
    summary = _summary(loaded.network, made, outputs) if layers else None
    if json:
        more = {"layers": summary.as_json()["rows"]} if summary else {}
        emit({**found.as_json(), **more, **({"multiply_adds": as_json(*counted)} if counted else {})})
        return
    show(_table(found, f"{method} on {model}", tasks))
    if summary:
        show(_layers_table(summary))
    if counted:
        show(_operations_table(*counted))


def _summary(network: nn.Module, method: Method, head: int | nn.Module | None) -> Summary:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdaptationWarning)  # the count warns itself
        model = MultiTask(network, method)
        model.add_task("one", head)
    return model.summary("one")


def _layers_table(found: Summary) -> Table:
    title = f"layers with {found.reached:,} of {found.backbone:,} parameters are adapted"
    table = Table("block", "layers", "parameters", "per task", "adapted", title=title, box=box.SIMPLE)
    table.title_justify = "left"
    table.columns[2].justify = table.columns[3].justify = "right"
    for row in found.rows:
        adapted = row.adapted or f"no: {row.why}"
        table.add_row(row.block, f"{row.layers} × {row.kind}", f"{row.backbone:,}", f"{row.numbers:,}", adapted)
    return table


def _operations_table(found: MultiplyAdds, words: str) -> Table:
    title = f"multiply-adds of one forward pass on {words}"
    table = Table("", "multiply-adds", "of backbone", title=title, box=box.SIMPLE, title_justify="left")
    table.columns[1].justify = table.columns[2].justify = "right"
    for name, number in table_rows(found).items():
        if isinstance(number, str):
            table.add_row(name, number, "")
        else:
            table.add_row(name, f"{number:,}", f"{number / found.backbone:.2%}" if found.backbone else "")
    return table


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
        bits = name.endswith(": bits")  # a parameter of the backbone has 32 bits
        share = number / (found.backbone * (32 if bits else 1)) if found.backbone else None
        table.add_row(name, f"{number:,}{' bits' * bits}", "" if share is None else f"{share:.2%}")
    return table
