"""Adapters in PEFT's format, in and out on the command line."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

import taskfold as tfold

from .conftest import Run

NET = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
"""


def test_an_adapter_comes_in_and_goes_out(tmp_path: Path, run: Run) -> None:
    (tmp_path / "net.py").write_text(NET)
    torch.manual_seed(0)
    model = tfold.MultiTask(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), tfold.LoRA(2, layers="any"))
    for parameter in model.add_task("french").parameters():
        nn.init.normal_(parameter)
    folder, backbone = model.save_peft("french", tmp_path / "french"), ["--backbone", f"{tmp_path}/net.py:build"]
    made = run("import", folder, *backbone, "--output", tmp_path)
    assert made.exit_code == 0, made.stderr
    assert "french.safetensors: lora, 38 numbers." in made.stderr
    left = run("export", tmp_path / "french.safetensors", *backbone, "--to", "peft", "--output", tmp_path / "again")
    assert left.exit_code == 0, left.stderr
    one, two = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("french", "again"))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    again = run("import", folder, *backbone, "--output", tmp_path / "new" / "tasks", "--json")
    assert again.exit_code == 0 and (tmp_path / "new" / "tasks" / "french.safetensors").is_file()
    again = run("import", folder, *backbone, "--output", tmp_path / "net.py")
    assert again.exit_code == 1
    assert "is no folder; name another" in again.stderr
