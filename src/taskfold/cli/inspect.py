from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..files import source_words
from ._cards import card
from ._output import emit, fail, say, show

_LABELS = 12


def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="FILES…", help="Task files, inventory files (.safetensors).")],
    tensors: Annotated[bool, typer.Option("--tensors", help="Also list every tensor.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list, one object for each file.")] = False,
) -> None:
    """Show what is in a task file or an inventory; contents are checked against their digest, and nothing runs."""
    cards, errors = [], []
    for path in files:
        try:
            cards.append(card(path, tensors))
        except (ValueError, OSError) as error:
            errors.append(str(error))
    if json:
        emit(cards)
    else:
        for found in cards:
            show(_table(found))
    for message in errors[:-1]:
        say(f"Error: {message}", "red")
    if errors:
        fail(errors[-1])


def _table(found: Mapping[str, Any]) -> Group:
    facts = _of_task(found) if found["kind"] == "task" else _of_inventory(found)
    card = Table(box=box.SIMPLE, show_header=False)
    for key, value in facts.items():
        card.add_row(Text(key, style="bold"), Text(value or "–"))
    sizes = Table("", "numbers", "bytes", box=box.SIMPLE)
    for kind in found["parameters"]:
        if found["parameters"][kind]:
            bits = found.get("bits", {}).get(kind)
            name = kind if bits is None else f"{kind} ({bits:,} bits)"
            sizes.add_row(name, f"{found['parameters'][kind]:,}", f"{found['bytes'][kind]:,}")
    for column in sizes.columns[1:]:
        column.justify = "right"
    return Group(card, sizes, *([_tensors(found["tensors"])] if "tensors" in found else []))


def _of_task(found: Mapping[str, Any]) -> dict[str, str]:
    labels, inventory = found["labels"], found["inventory"]
    facts = {
        "task": found["task"],
        "file": _file(found),
        "for": _data(found),
        "method": found["method"]["name"],
        "settings": _pairs(found["method"]["settings"]),
        "head": _head(found),
        "labels": ", ".join(labels[:_LABELS]) + (f" … ({len(labels)} in all)" if len(labels) > _LABELS else ""),
        **({"problem": _pairs(found["problem"])} if found["problem"] != {"kind": "classification"} else {}),
        "preprocessing": _pairs({k: v for k, v in found["preprocessing"].items() if k not in ("kind", "target")}),
        "metrics": _pairs(found["metrics"]),
        "backbone": _backbone(found),
    }
    if found["transfer"]:
        facts["transfer"] = f"{found['transfer']} ({_MODES.get(found['transfer'], 'of a newer version')})"
    if inventory:
        where = "in this file" if inventory["standalone"] else "in a file of its own"
        facts["inventory"] = f"fingerprint {inventory['fingerprint'][:16]}…, {where}"
    return facts


_MODES = {
    "z": "its routing was learned on the inventory",
    "mu": "its own copy of the factors was learned, under a fixed routing",
    "all": "its routing and its own copy of the factors were learned",
}


def _of_inventory(found: Mapping[str, Any]) -> dict[str, str]:
    facts = {"inventory": "what tasks share", "file": _file(found)}
    for name, part in found["methods"].items():
        numbers = f"{part['layers']} layers, {part['numbers']:,} numbers"
        experts = part["experts"]
        facts[f"method {name}"] = numbers + (f", {' or '.join(map(str, experts))} experts in each" if experts else "")
    tasks = found["tasks"]
    facts["tasks beside it"] = ", ".join(tasks[:_LABELS]) + (
        f" … ({len(tasks)} in all)" if len(tasks) > _LABELS else ""
    )
    return facts | {"backbone": _backbone(found)}


def _file(found: Mapping[str, Any]) -> str:
    return f"{found['file']} ({found['file_bytes']:,} bytes, format {found['format_version']}, intact)"


def _backbone(found: Mapping[str, Any]) -> str:
    return source_words(found["backbone"])


def _tensors(tensors: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table("tensor", "kind", "shape", "type", box=box.SIMPLE)
    for name, tensor in tensors.items():
        table.add_row(Text(name), tensor["kind"], " × ".join(map(str, tensor["shape"])) or "1", tensor["dtype"])
    return table


def _data(found: Mapping[str, Any]) -> str:
    kind, target = str(found["data"]), found["preprocessing"].get("target")
    return f"{kind}: {target}" if target else kind


def _head(found: Mapping[str, Any]) -> str:
    head = found["head"]
    if head is None:
        return "none"
    if "outputs" in head:
        return f"{head['outputs']} outputs"
    return "the network's, for every pixel" if found["data"] == "dense" else "a module of the user's own"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_value(value)}" for key, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({_pairs(value)})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
