"""Tasks saved as adapters give their outputs in PEFT, and are restored bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import taskfold as tfold

peft = pytest.importorskip("peft", minversion="0.21")

from .networks import answer, built, inputs  # noqa: E402


def moved(model: tfold.MultiTask, name: str = "one") -> tfold.MultiTask:
    """With random numbers in everything that is the task's."""
    torch.manual_seed(3)
    for tensor in [*model[name].parameters(), *model.inventory.parameters()]:
        tensor.data.add_(torch.randn_like(tensor) * 0.2)
    for tensor in model[name].buffers():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return model.eval()


CASES: dict[str, tuple[str, Any]] = {
    "lora": ("bert", partial(tfold.LoRA, rank={"*.0.*": 3, "*": 2}, alpha=5.0)),
    "lora-text": ("gpt2", partial(tfold.LoRA, rank=2, layers="any")),
    "lora-attention": ("gpt2", partial(tfold.LoRA, rank=2, layers="attention")),
    "lora-own": ("bert", partial(tfold.LoRA, rank=2, layers="attention", own="classifier.*")),
    "dora": ("bert", partial(tfold.DoRA, rank=2, layers="linear", targets="bert.*", own="classifier.*")),
    "dora-convolution": ("convolutional", partial(tfold.DoRA, rank=2, layers="any")),
    "ftn": ("convolutional", partial(tfold.FTN, rank=3, statistics="own")),
    "ftn-stem": ("convolutional", partial(tfold.FTN, rank=3, stem=True, alpha=2.0, norm=False)),
    "entangled": ("llama", partial(tfold.TLoRA, rank=4)),
    "poly": ("llama", partial(tfold.Poly, rank=2, skills=3)),
    "mhr": ("llama", partial(tfold.MHR, rank=2, skills=3, splits=2)),
    "tensorpoly": ("t5", partial(tfold.TensorPolyI, rank=2)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")
def test_a_task_answers_in_peft(case: str, tmp_path: Path) -> None:
    name, method = CASES[case]
    model = tfold.MultiTask(built(name), method())
    model.add_task("one")
    moved(model).save_peft("one", tmp_path / "peft")
    batch = inputs(name)
    with torch.no_grad():
        found = answer(model(**batch, task="one"))
        theirs = peft.PeftModel.from_pretrained(built(name), str(tmp_path / "peft")).eval()
        torch.testing.assert_close(answer(theirs(**batch)), found, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(found, answer(built(name)(**batch)), atol=1e-3)
    again = tfold.MultiTask(built(name)).eval()
    again.load_peft(tmp_path / "peft", name="back")
    again.save_peft("back", tmp_path / "twice")
    assert (tmp_path / "twice/adapter_config.json").read_bytes() == (tmp_path / "peft/adapter_config.json").read_bytes()
    one, two = (load_file(tmp_path / folder / "adapter_model.safetensors") for folder in ("peft", "twice"))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    if case in ("lora", "lora-text", "lora-own", "dora", "dora-convolution"):
        with torch.no_grad():
            assert torch.equal(answer(again(**batch, task="back")), found)


READER = """
import pathlib, sys, peft, torch
from safetensors.torch import load_file
from tests.peft.networks import answer, built

for folder in map(pathlib.Path, sys.argv[1:]):
    held = load_file(folder / "batch")
    expected = held.pop("expected")
    model = peft.PeftModel.from_pretrained(built(folder.name), str(folder / "peft")).eval()
    with torch.no_grad():
        torch.testing.assert_close(answer(model(**held)), expected, rtol=1e-5, atol=1e-5)
assert not any(name.partition(".")[0] == "taskfold" for name in sys.modules)
"""


@pytest.mark.whole
@pytest.mark.filterwarnings("ignore")
def test_a_process_without_taskfold_reads_tasks(tmp_path: Path) -> None:
    methods = {"convolutional": tfold.FTN(rank=3), "gpt2": tfold.DoRA(rank=2, layers="any"), "t5": tfold.TensorPolyI(2)}
    for name, method in methods.items():
        model = tfold.MultiTask(built(name), method)
        model.add_task("one")
        (tmp_path / name).mkdir()
        moved(model).save_peft("one", tmp_path / name / "peft")
        batch = inputs(name)
        with torch.no_grad():
            batch["expected"] = answer(model(**batch, task="one")).contiguous()
        save_file({key: one.contiguous() for key, one in batch.items()}, tmp_path / name / "batch")
    root = Path(__file__).parents[2]
    said = subprocess.run(
        [sys.executable, "-c", READER, *(str(tmp_path / name) for name in methods)],
        cwd=root, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert said.returncode == 0, said.stderr


@pytest.mark.filterwarnings("ignore")
def test_a_head_goes_where_timm_has_it(tmp_path: Path) -> None:
    sizes = {"channels": (8, 8, 8, 8), "layers": (1, 1, 1, 1)}
    torch.manual_seed(0)
    net = timm.create_model("resnet18", num_classes=0, **sizes)
    model = tfold.MultiTask(net, tfold.FTN(rank=2))
    model.add_task("one", head=3)
    moved(model).save_peft("one", tmp_path / "peft")
    other = timm.create_model("resnet18", num_classes=3, **sizes)
    other.load_state_dict(net.state_dict(), strict=False)
    theirs = peft.PeftModel.from_pretrained(other, str(tmp_path / "peft")).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(theirs(x), model(x, task="one"), rtol=1e-5, atol=1e-5)


pytestmark = pytest.mark.filterwarnings("ignore::taskfold.AdaptationWarning")


class Odd(nn.Module):
    """Layers that PEFT's adapters do not follow."""

    def __init__(self) -> None:
        super().__init__()
        self.dilated = nn.Conv1d(4, 4, 3, dilation=2)
        self.grouped = nn.Conv1d(4, 4, 1, groups=2)
        self.circular = nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular")
        self.attention = nn.MultiheadAttention(4, 2)
        self.plain = nn.Linear(4, 4)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (tfold.LoRA(1, layers="any", targets="dilated"), r"task 'one', layer 'dilated': it has dilation=\(2,\)"),
        (tfold.LoRA(1, layers="any", targets="grouped"), "layer 'grouped': it has groups=2"),
        (tfold.LoRA(1, layers="any", targets="circular"), "layer 'circular': it has padding_mode='circular'"),
        (tfold.LoRA(1, layers="attention"), "layer 'attention': it is a .*MultiheadAttention"),
        (
            tfold.SVFT(layers="linear", targets="plain"),
            "layer 'plain': the task's Change there is no update of low rank",
        ),
        (
            tfold.LoRA(1, layers="any", targets="plain", own="plain.bias"),
            "own in module 'plain', and an update of layer",
        ),
        (tfold.HeadOnly(own="dilated.*"), "no update of low rank"),
        (tfold.IA3(outputs="grouped"), "groups=2"),
    ],
)
def test_what_peft_cannot_hold_is_refused_by_name(method: tfold.Method, words: str, tmp_path: Path) -> None:
    model = tfold.MultiTask(Odd(), method)
    model.add_task("one")
    with pytest.raises(ValueError, match=words):
        model.save_peft("one", tmp_path / "peft")
    assert not (tmp_path / "peft").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    model = tfold.MultiTask(nn.Sequential(nn.Linear(2, 2)), tfold.LoRA(1))
    model.add_task("one")
    folder = model.save_peft("one", tmp_path / "peft")
    assert json.loads((folder / "adapter_config.json").read_text())["target_modules"] == ["0"]
    with pytest.raises(ValueError, match="holds something already"):
        model.save_peft("one", folder)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        model.save_peft("one", tmp_path / "none" / "peft")
