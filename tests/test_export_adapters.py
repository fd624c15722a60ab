"""One graph, and an adapter for each task, in onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import taskfold as tfold
from taskfold.export import export_adapter, export_triton, run_adapter

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def built(seed: int = 0, **methods: tfold.Method) -> tfold.MultiTask:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    model = tfold.MultiTask(net, num_features=4).eval()
    for n, (name, method) in enumerate(methods.items()):
        task = model.add_task(name, method=method, head=3 + n)
        with torch.no_grad():
            for parameter in task.parameters():
                parameter.copy_(torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(
    "method", [tfold.LoRA(rank=2, layers="convolution", norm=True), tfold.FTN(rank=2)], ids=["lora", "ftn"]
)
def test_two_tasks_are_two_files_of_one_graph(method: tfold.Method, tmp_path: Path) -> None:
    model, graph = built(cars=method, birds=method), tmp_path / "net.onnx"
    x, written = torch.randn(2, 3, 8, 8), set[bytes]()
    for name in ("cars", "birds"):
        assert export_adapter(model, name, [x], graph, tmp_path / f"{name}.onnx_adapter") < 1e-5
        written.add(graph.read_bytes())
    assert len(written) == 1
    images = torch.randn(5, 3, 8, 8)
    for name in ("cars", "birds", "cars"):
        said = run_adapter(graph, tmp_path / f"{name}.onnx_adapter", [images])
        torch.testing.assert_close(said, model(images, task=name), rtol=1e-4, atol=1e-5)
    nobody = onnxruntime.InferenceSession(str(graph)).run(None, {"image": images.numpy()})[0]
    assert torch.from_numpy(nobody).isnan().all()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["birds.onnx_adapter", "cars.onnx_adapter", "net.onnx"]


def test_tasks_that_are_not_alike_are_refused_by_name(tmp_path: Path) -> None:
    one, other = (tfold.LoRA(rank=rank, layers="convolution") for rank in (1, 2))
    model, graph, x = built(cars=one, birds=other), tmp_path / "net.onnx", torch.randn(2, 3, 8, 8)
    export_adapter(model, "cars", [x], graph, tmp_path / "cars.onnx_adapter")
    there = graph.read_bytes()
    with pytest.raises(ValueError, match=r"net.onnx is for tasks of another method.*task 'birds' has"):
        export_adapter(model, "birds", [x], graph, tmp_path / "birds.onnx_adapter")
    with pytest.raises(ValueError, match="for tasks of another backbone"):
        export_adapter(built(1, cars=one), "cars", [x], graph, tmp_path / "birds.onnx_adapter")
    with pytest.raises(ValueError, match=r"path must end in \.onnx_adapter, found 'birds'"):
        export_adapter(model, "birds", [x], graph, tmp_path / "birds")
    assert graph.read_bytes() == there
    export_adapter(model, "birds", [x], tmp_path / "other.onnx", tmp_path / "birds.onnx_adapter")
    with pytest.raises(ValueError, match=r"adapter birds\.onnx_adapter was written for another graph than net\.onnx"):
        run_adapter(graph, tmp_path / "birds.onnx_adapter", [x])
    assert len(list(tmp_path.iterdir())) == 4


def test_triton_gets_a_folder_whose_tasks_are_a_file_of_their_own(tmp_path: Path) -> None:
    bank = built(cars=tfold.LoRA(rank=1, layers="convolution"), birds=tfold.LoRA(rank=2, layers="convolution")).bank()
    given = [torch.randn(2, 3, 8, 8), bank.index(["cars", "birds"])]
    assert export_triton(bank, given, tmp_path / "zoo") < 1e-5
    found = sorted(str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file())
    assert found == ["zoo/1/model.onnx", "zoo/1/tasks.data", "zoo/config.pbtxt", "zoo/tasks.json"]
    assert (tmp_path / "zoo" / "config.pbtxt").read_text().splitlines()[:6] == [
        'name: "zoo"',
        'backend: "onnxruntime"',
        "max_batch_size: 4096",
        "input [",
        '  { name: "image" data_type: TYPE_FP32 dims: [ 3, 8, 8 ] },',
        '  { name: "index" data_type: TYPE_INT64 dims: [ 1 ] reshape: { shape: [ ] } }',
    ]
    numbers = sum(one.numel() * one.element_size() for one in (bank.table.numbers, bank.table.heads.weight))
    assert (tmp_path / "zoo" / "1" / "tasks.data").stat().st_size >= numbers
    session = onnxruntime.InferenceSession(str(tmp_path / "zoo" / "1" / "model.onnx"))
    places = {one["name"]: one["index"] for one in json.loads((tmp_path / "zoo" / "tasks.json").read_text())["tasks"]}
    index = np.array([places[name] for name in ("birds", "cars")])
    said = session.run(None, {"image": given[0].numpy(), "index": index})[0]
    wanted = bank(given[0], bank.index(["birds", "cars"]))
    torch.testing.assert_close(torch.from_numpy(said), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(FileExistsError, match="folder zoo is there already"):
        export_triton(bank, given, tmp_path / "zoo")
