"""Without any extra the core imports and runs; anything that needs an extra names it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# A process in which no package of any extra can be found, whether it is installed or not.
WITHOUT = """
import json, sys

GONE = {"PIL", "accelerate", "datasets", "jinja2", "matplotlib", "onnx", "onnxruntime", "onnxscript", "optuna",
        "pycocotools", "pydantic", "rich", "scipy", "segmentation_models_pytorch", "timm", "tokenizers", "torchjd",
        "torchmetrics", "torchvision", "transformers", "typer", "uvicorn", "yaml", "fastapi", "starlette",
        "prometheus_client", "ray"}

class Blind:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in GONE else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Blind(finder) for finder in sys.meta_path]
said = []
for code in json.load(sys.stdin):
    try:
        exec(code, {})
        said.append("nothing")
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps(said))
"""
CORE = """
import torch, taskfold, taskfold.evaluate, taskfold.export, taskfold.serve, taskfold.text
from torch import nn
net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
model = taskfold.MultiTask(net, taskfold.LoRA(rank=1, layers="convolution"), num_features=4).eval()
for name in "ab":
    model.add_task(name, head=2)
x = torch.randn(2, 3, 5, 5)
for rows in (model(x, task=["a", "b"]), model.bank()(x, task=["a", "b"])):
    assert [len(row) for row in rows] == [2, 2]
assert model.fold("a")(x).shape == (2, 2)
"""
EXPORTED = """
import torch, taskfold.export
taskfold.export.export(torch.nn.Linear(2, 2), [torch.randn(2, 2)], "never-written.onnx")
"""
NEEDS = {
    "import taskfold.train": "train",
    "import taskfold.cli": "cli",
    "import taskfold.config": "cli",
    "import taskfold.data": "vision",
    "import taskfold.dense": "dense",
    "import taskfold.report": "report",
    "import taskfold.serve.web": "serve",
    "import taskfold.serve.replicas": "ray",
    "from taskfold.backbones import load; load('timm:resnet18')": "vision",
    "from taskfold.backbones import load; load('torchvision:resnet18')": "vision",
    "from taskfold.backbones import load; load('hf:gpt2')": "text",
    "from taskfold.text.templates import Template; Template('n', '{{ a }} ||| b')": "text",
    EXPORTED: "export",
}


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    codes = [CORE, *NEEDS]
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, input=json.dumps(codes), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(codes, json.loads(done.stdout), strict=True))


def test_the_core_runs(said: dict[str, str]) -> None:
    assert said[CORE] == "nothing"


@pytest.mark.parametrize(("code", "extra"), NEEDS.items(), ids=[code.strip().splitlines()[-1] for code in NEEDS])
def test_names_the_extra(code: str, extra: str, said: dict[str, str]) -> None:
    kind, _, message = said[code].partition(": ")
    assert kind in ("ImportError", "MissingExtraError"), said[code]
    assert f'pip install "taskfold[{extra}]"' in message
