"""Exports a bank as a folder for Triton: its graph, its table in a separate file, and Triton's configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import check_inside, draft_of
from ..model import Bank
from ._export import MOST, difference, export, run_of

TABLE, DATA, NAMES = "table.", "tasks.data", "tasks.json"
"""The names of the table's tensors in the graph; the table's file; the file of the tasks' names by index."""
TYPES = {
    torch.float32: "FP32",
    torch.float16: "FP16",
    torch.bfloat16: "BF16",
    torch.float64: "FP64",
    torch.int64: "INT64",
}


def export_triton(
    bank: Bank, inputs: Sequence[Tensor], folder: str | Path, *, names: Sequence[str] = (), tasks: Sequence[Any] = ()
) -> float:
    """Write a model for Triton's onnxruntime backend.

    The folder has `config.pbtxt`, `1/model.onnx`, `1/tasks.data` with the numbers of all tasks, and `tasks.json`, the
    tasks in the order of their index. The folder's name is the model's.

    Args:
        bank: holds the tasks.
        inputs: example inputs, batch first, with at least two rows; the last one is `bank.index(…)`.
        folder: the new folder.
        names: the inputs' names; default: image and index.
        tasks: the entry of each task in `tasks.json`; default: its name.

    Returns:
        The largest difference found between onnxruntime's outputs and the bank's.

    Raises:
        FileExistsError: the folder exists.
        FileNotFoundError: its parent folder does not exist.
        TypeError, ValueError, ImportError, RuntimeError: as for `export`.
    """
    folder, called = Path(folder), list(names) or ["image", "index"]
    if folder.exists():
        raise FileExistsError(f"folder {folder.name} is there already; give a new one, or remove it")
    check_inside(folder)
    with draft_of(folder, folder=True) as place:
        draft = place / folder.name
        graph = draft / "1" / "model.onnx"
        graph.parent.mkdir(parents=True)
        export(bank, inputs, graph, names=called)
        _apart(graph)
        with torch.no_grad():
            outputs = bank(*inputs)
            found = difference(bank, run_of(graph), list(inputs), "the Bank")
        (draft / "config.pbtxt").write_text(config(folder.name, dict(zip(called, inputs, strict=True)), outputs))
        listed = list(tasks) or [{"name": name, "index": place} for name, place in bank.table.places.items()]
        (draft / NAMES).write_text(json.dumps({"tasks": listed}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        draft.rename(folder)
    return found


def config(name: str, inputs: Mapping[str, Tensor], outputs: Tensor) -> str:
    """Triton's `config.pbtxt`. An input of one number per row is `[1]` for clients, and `[]` for the graph.

    Example:
        >>> print(config("tasks", {"index": torch.zeros(2, dtype=torch.long)}, torch.zeros(2, 5)))
        name: "tasks"
        backend: "onnxruntime"
        max_batch_size: 4096
        input [
          { name: "index" data_type: TYPE_INT64 dims: [ 1 ] reshape: { shape: [ ] } }
        ]
        output [
          { name: "outputs" data_type: TYPE_FP32 dims: [ 5 ] }
        ]
        dynamic_batching { }
        <BLANKLINE>
    """
    put = ",\n".join(_port(each, tensor) for each, tensor in inputs.items())
    return (
        f'name: "{name}"\nbackend: "onnxruntime"\nmax_batch_size: {MOST}\ninput [\n{put}\n]\n'
        f"output [\n{_port('outputs', outputs)}\n]\ndynamic_batching {{ }}\n"
    )


def _port(name: str, tensor: Tensor) -> str:
    sizes = ", ".join(map(str, tensor.shape[1:])) or "1"
    shaped = "" if tensor.dim() > 1 else " reshape: { shape: [ ] }"
    return f'  {{ name: "{name}" data_type: TYPE_{TYPES[tensor.dtype]} dims: [ {sizes} ]{shaped} }}'


def _apart(graph: Path) -> None:
    """Moves the table into a file of its own, beside the graph."""
    onnx = import_module("onnx")
    proto = onnx.load(str(graph))
    table = [one for one in proto.graph.initializer if one.name.startswith(TABLE)]
    if not table:
        raise RuntimeError("the exported graph holds no table of tasks; export the bank to one file")
    for one in table:
        one.raw_data = onnx.numpy_helper.to_array(one).tobytes()
        onnx.external_data_helper.set_external_data(one, DATA)
    onnx.save(proto, str(graph))
