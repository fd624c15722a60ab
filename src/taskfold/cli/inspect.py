from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text
from torch import Tensor

from ..tasks import read
from ._output import emit, fail, say, show

KINDS = ("factors", "norm", "running statistics", "head", "shared")
_LABELS = 12


def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="TASKFILES…", help="Task files (.safetensors).")],
    tensors: Annotated[bool, typer.Option("--tensors", help="Also list every tensor.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list, one object for each file.")] = False,
) -> None:
    """Show what is in a task file; its contents are checked against its digest, and nothing is run."""
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


def card(path: Path, tensors: bool = False) -> dict[str, Any]:
    """What a task file says of itself.

    Raises:
        FileNotFoundError, TaskFileError: there is none, or it is damaged.
    """
    contents = read(path)
    header, info = contents.header, contents.header["info"]
    kinds = {name: kind_of(name, contents.tensors) for name in contents.tensors}
    found: dict[str, Any] = {
        "file": str(path),
        "task": header["task"],
        "format_version": header["format_version"],
        "method": header["method"],
        "head": header["head"],
        "labels": info["labels"],
        "preprocessing": info["preprocessing"],
        "metrics": info["metrics"],
        "backbone": header["backbone"],
        "parameters": dict.fromkeys(KINDS, 0),
        "bytes": dict.fromkeys(KINDS, 0),
        "file_bytes": path.stat().st_size,
    }
    for name, tensor in contents.tensors.items():
        found["parameters"][kinds[name]] += tensor.numel()
        found["bytes"][kinds[name]] += tensor.numel() * tensor.element_size()
    if tensors:
        found["tensors"] = {
            name: {"kind": kinds[name], "shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
            for name, tensor in contents.tensors.items()
        }
    return found


def kind_of(name: str, tensors: Mapping[str, Tensor]) -> str:
    """What a tensor counts as, by its name: see `Task.groups`."""
    if name.startswith("inventory:"):
        return "shared"
    if not name.startswith("sites."):
        return "head"
    if ".updates." in name:
        return "factors"
    leaf = name.rpartition(".")[2]
    if leaf.startswith("running_") or leaf == "num_batches_tracked":
        return "running statistics"
    # Normalisation holds vectors only; what is copied beside a matrix is a layer fine-tuned as a whole.
    site = name.partition(".own.")[0]
    whole = any(tensor.dim() > 1 for other, tensor in tensors.items() if other.startswith(f"{site}.own."))
    return "factors" if whole else "norm"


def _table(found: Mapping[str, Any]) -> Group:
    head, labels = found["head"], found["labels"]
    facts = {
        "task": found["task"],
        "file": f"{found['file']} ({found['file_bytes']:,} bytes, format {found['format_version']}, intact)",
        "method": found["method"]["name"],
        "settings": _pairs(found["method"]["settings"]),
        "head": "none"
        if head is None
        else f"{head['outputs']} outputs"
        if "outputs" in head
        else "a module of its own",
        "labels": ", ".join(labels[:_LABELS]) + (f" … ({len(labels)} in all)" if len(labels) > _LABELS else ""),
        "preprocessing": _pairs(found["preprocessing"]),
        "metrics": _pairs(found["metrics"]),
        "backbone": f"{found['backbone']['class']}, fingerprint {found['backbone']['fingerprint'][:16]}…",
    }
    card = Table(box=box.SIMPLE, show_header=False)
    for key, value in facts.items():
        card.add_row(Text(key, style="bold"), Text(value or "–"))
    sizes = Table("", "numbers", "bytes", box=box.SIMPLE)
    for kind in KINDS:
        if found["parameters"][kind]:
            sizes.add_row(kind, f"{found['parameters'][kind]:,}", f"{found['bytes'][kind]:,}")
    for column in sizes.columns[1:]:
        column.justify = "right"
    return Group(card, sizes, *([_tensors(found["tensors"])] if "tensors" in found else []))


def _tensors(tensors: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table("tensor", "kind", "shape", "type", box=box.SIMPLE)
    for name, tensor in tensors.items():
        table.add_row(Text(name), tensor["kind"], " × ".join(map(str, tensor["shape"])) or "1", tensor["dtype"])
    return table


def _head(head: Mapping[str, Any] | None) -> str:
    if head is None:
        return "none"
    return f"{head['outputs']} outputs" if "outputs" in head else "a module of the user's own"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={f'{value:.4g}' if isinstance(value, float) else value}" for key, value in values.items())
