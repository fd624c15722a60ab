"""Exported files run in a process where Taskfold cannot be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import taskfold as tfold
from taskfold.pretrained import as_pretrained

timm = pytest.importorskip("timm")
pytest.importorskip("peft")

SIZES = "channels=(8, 8, 8, 8), layers=(1, 1, 1, 1)"
ELSEWHERE = f"""
import sys
import warnings
sys.modules["taskfold"] = None
warnings.simplefilter("ignore")
import timm, torch
from peft import PeftModel
try:
    import taskfold
except ImportError:
    x = torch.load("x.pt")
    with torch.no_grad():
        folded = timm.create_model("resnet18", num_classes=3, checkpoint_path="folded.safetensors", {SIZES}).eval()
        network = timm.create_model("resnet18", num_classes=3, {SIZES})
        network.load_state_dict(torch.load("backbone.pt"), strict=False)
        torch.save([folded(x), PeftModel.from_pretrained(network, "peft").eval()(x)], "answers.pt")
"""


def resnet() -> tfold.MultiTask:
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=0, channels=(8, 8, 8, 8), layers=(1, 1, 1, 1))
    model = tfold.MultiTask(network, tfold.FTN(rank=2)).eval()
    for parameter in model.add_task("one", head=3).parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def test_an_adapter_and_a_folded_network_answer_without_taskfold(tmp_path: Path) -> None:
    model, x = resnet(), torch.randn(2, 3, 32, 32)
    model.save_peft("one", tmp_path / "peft")
    save_file(as_pretrained(model, "one").state_dict(), tmp_path / "folded.safetensors")
    torch.save(model.backbone.state_dict(), tmp_path / "backbone.pt")
    torch.save(x, tmp_path / "x.pt")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", ELSEWHERE]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = model(x, task="one")
    for found in torch.load(tmp_path / "answers.pt"):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_head_that_timm_has_no_place_for_is_refused() -> None:
    model = resnet()
    model.add_task("deep", head=nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)))
    with pytest.raises(ValueError, match="task 'deep': timm's networks end in one linear layer"):
        as_pretrained(model, "deep")
