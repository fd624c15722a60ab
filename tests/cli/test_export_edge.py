"""`taskfold export` for onnxruntime's adapters and for Triton."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from taskfold.cli._tasks import load_tasks
from taskfold.export import run_adapter

from .conftest import Run
from .test_serve import write

pytest.importorskip("onnxscript")


def test_a_new_task_is_a_new_file_and_triton_gets_a_folder(tmp_path: Path, run: Run) -> None:
    runs, backbone = write(tmp_path, "warm", "cold"), ["--backbone", f"{tmp_path}/net.py:build"]
    files = [runs / "tasks" / f"{name}.safetensors" for name in ("warm", "cold")]
    graph, seen = tmp_path / "network.onnx", set[bytes]()
    for file in files:
        result = run("export", file, *backbone, "--adapters", "-o", graph)
        assert result.exit_code == 0, result.output
        seen.add(graph.read_bytes())
    assert len(seen) == 1
    model, _ = load_tasks(backbone[1], None, files)
    images = torch.randn(3, 3, 8, 8)
    for name in ("warm", "cold"):
        said = run_adapter(graph, tmp_path / f"{name}.onnx_adapter", [images])
        torch.testing.assert_close(said, model.cpu()(images, task=name), rtol=1e-4, atol=1e-5)
        facts = json.loads((tmp_path / f"{name}.json").read_text())
        assert (facts["graph"], facts["inputs"], facts["labels"][0]) == ("network.onnx", ["image"], f"{name}-a")
    result = run("export", *files, *backbone, "--triton", "-o", tmp_path / "zoo")
    assert result.exit_code == 0, result.output
    assert 'name: "zoo"' in (tmp_path / "zoo" / "config.pbtxt").read_text()
    assert [one["name"] for one in json.loads((tmp_path / "zoo" / "tasks.json").read_text())["tasks"]] == [
        "warm",
        "cold",
    ]
    result = run("export", *files, *backbone, "--triton", "--adapters", "-o", tmp_path / "other")
    assert (result.exit_code, "give one of them" in result.stderr) == (1, True)
