"""A task's size in results equals the content of its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from torch import nn

import taskfold as tfold
from taskfold.model import count_task, file_bytes
from taskfold.report import read_results
from taskfold.report._table import build, cost_columns


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


METHODS = [
    tfold.FTN(rank=2, stem=True),
    tfold.LoRA(rank=2, layers="any", norm=True),
    tfold.Piggyback(),
    tfold.Piggyback(ternary=True),
    tfold.FishMask(share=0.1),
    tfold.BitFit(norms=True),
    tfold.FineTuning(),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_bytes_are_those_of_the_file(method: tfold.Method, tmp_path: Path) -> None:
    model = tfold.MultiTask(network(), method, num_features=8)
    task = model.add_task("one", head=3)
    with safe_open(model.save_task("one", tmp_path / "one.safetensors"), "pt") as file:
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    assert file_bytes(task) == sum(tensor.nbytes for tensor in held.values())
    counts = count_task(task)
    stored = counts.pop("bits", 0) / 8 + 4 * sum(counts.values())
    statistics = sum(tensor.nbytes for name, tensor in held.items() if "running" in name or "num_batches" in name)
    assert stored <= file_bytes(task) - statistics < stored + 8


def test_bits_of_masks_are_no_parameters(tmp_path: Path) -> None:
    run = {
        "task": "a",
        "method": "piggyback",
        "label": "Piggyback",
        "metrics": {"test_accuracy": 0.5},
        "parameters": {"head": 27, "bits": 792},
        "bytes": 207,
    }
    document = {
        "version": 1,
        "title": "t",
        "tasks": [{"name": "a"}],
        "runs": [run],
        "backbone": {"name": "net", "parameters": 900},
    }
    (tmp_path / "results.json").write_text(json.dumps(document))
    results = read_results(tmp_path / "results.json")
    table = build(results, cost_columns(results))
    (row,) = [dict(zip(table.titles, [cell.text for cell in cells], strict=True)) for _, cells in table.rows]
    assert (row["params"], row["bits"], row["bytes"]) == ("0", "792", "207 B")
