"""Tasks that leave the first stages of a network alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import transformers
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

import taskfold as tfold
from taskfold.layers import stages
from taskfold.methods import build

from .cases import NETWORKS

TINY = T5Config(d_model=16, d_ff=32, d_kv=8, num_layers=2, num_heads=2, vocab_size=20)
HF_LAYERS = "layers" if int(transformers.__version__.partition(".")[0]) >= 5 else "encoder.layer"
STAGES = {
    "resnet18": (NETWORKS["resnet18"], [f"layer{n}" for n in (1, 2, 3, 4)]),
    "mobilenet-v2": (NETWORKS["mobilenet-v2"], [f"blocks.{n}" for n in (0, 1, 2, 4, 6)]),
    "timm-vit": (NETWORKS["timm-vit"], ["blocks.0", "blocks.1"]),
    "hf-vit": (NETWORKS["hf-vit"], [f"{HF_LAYERS}.{n}" for n in (0, 1)]),
    "torchvision-vit": (
        NETWORKS["torchvision-vit"],
        ["encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1"],
    ),
    "t5": (
        lambda: T5ForConditionalGeneration(TINY),
        [f"{side}.block.{n}" for side in ("encoder", "decoder") for n in (0, 1)],
    ),
}


@pytest.mark.parametrize(("network", "wanted"), STAGES.values(), ids=STAGES)
def test_stages(network: Callable[[], nn.Module], wanted: list[str]) -> None:
    assert stages(network()) == wanted


METHODS = [
    "ftn",
    "lora",
    "fine-tuning",
    "fishmask",
    "head-norm",
    "hard-sharing",
    "over-parameterised",
    "repvgg",
    "poly",
]


@pytest.mark.parametrize("name", METHODS)
def test_nothing_of_the_first_stages_is_a_task_s(name: str) -> None:
    settings = {"layers": "convolution"} if name in ("lora", "poly") else {}
    method = build(name, {"frozen_stages": 2, **settings})
    network = NETWORKS["resnet18"]()
    model = tfold.MultiTask(network, method).eval()
    task = model.add_task("a", head=3)
    assert {path.partition(".")[0] for path in task.sites} <= {"layer3", "layer4"}
    assert not any("layer2" in key or "conv1/" in key.partition("layer")[0] for key in model.inventory)
    whole = tfold.MultiTask(network, build(name, settings)).add_task("a", head=3)
    assert 0 < sum(task.counts().values()) <= sum(whole.counts().values())
    assert tfold.count(network, method).adapter_total < tfold.count(network, build(name, settings)).adapter_total
    with torch.no_grad():
        x = torch.randn(2, 3, 32, 32)
        torch.testing.assert_close(model.fold("a").eval()(x), model(x, task="a"))


def test_a_file_remembers(tmp_path: Path) -> None:
    network = timm.create_model("resnet18", num_classes=0)
    model = tfold.MultiTask(network, tfold.Poly(rank=2, skills=2, layers="convolution", frozen_stages=3))
    model.add_task("a", head=3)
    other = tfold.MultiTask(network)
    other.load_inventory(model.save_inventory(tmp_path / "inventory.safetensors"))
    loaded = other.load_task(model.save_task("a", tmp_path / "a.safetensors"))
    assert loaded.method == model["a"].method
    assert set(loaded.sites) == set(model["a"].sites)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (-1, "frozen_stages must be a whole number ≥ 0, found -1"),
        (True, "frozen_stages must be a whole number ≥ 0, found True"),
        (5, r"frozen_stages=5 is more than ResNet has: 4 stages \(layer1, layer2, layer3, layer4\)"),
        (4, "frozen_stages=4 leaves nothing to adapt in ResNet; lower it"),
    ],
)
def test_what_is_refused(stages: int, said: str) -> None:
    model = tfold.MultiTask(timm.create_model("resnet18", num_classes=0))
    with pytest.raises(ValueError, match=said):
        model.add_task("a", head=2, method=tfold.FTN(frozen_stages=stages))
    assert not model.tasks
    assert not model.inventory


@pytest.mark.parametrize("name", ["prefix", "prompt", "spottune"])
def test_methods_that_begin_at_the_first_stage(name: str) -> None:
    with pytest.raises(ValueError, match="frozen_stages must be 0, found 1: "):
        build(name, {"frozen_stages": 1})


def test_a_network_without_stages() -> None:
    with pytest.raises(ValueError, match=r"Linear has: 0 stages \(none\)"):
        tfold.MultiTask(nn.Linear(3, 3), tfold.LoRA(frozen_stages=1)).add_task("a")
