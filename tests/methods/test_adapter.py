"""Adapters against the formula as torch modules, which hooks place behind the same network's sublayers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

import taskfold as tfold
from taskfold.export import export
from taskfold.layers import parts_of
from taskfold.report.record import layer_changes

from .cases import ATTENTION
from .test_promises import images

TINY = T5Config(
    d_model=16, d_ff=32, d_kv=8, num_layers=2, num_heads=2, vocab_size=20, dropout_rate=0.0, decoder_start_token_id=0
)


class Bottleneck(nn.Module):
    """Behind a layer, as Houlsby et al. write it."""

    def __init__(self, channels: int, width: int, activation: nn.Module, scale: float) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, width), nn.Linear(width, channels)
        self.activation, self.scale = activation, scale

    def forward(self, module: nn.Module, inputs: object, output: Any) -> Any:
        first, *others = output if isinstance(output, tuple) else (output,)
        made = first + self.scale * self.up(self.activation(self.down(first)))
        return (made, *others) if others else made


def text(network: nn.Module, **settings: Any) -> Tensor:
    words = torch.arange(12).reshape(2, 6) % 20
    return network(input_ids=words, decoder_input_ids=words.flip(1)[:, :4], **settings).logits


def pictures(network: nn.Module, **settings: Any) -> Tensor:
    output = network(images(2).double(), **settings)
    return output if isinstance(output, Tensor) else output.last_hidden_state


FF, ATT = "feed-forward", "attention"
PLACES = {
    "timm-vit": {FF: "blocks.{}.mlp.fc2", ATT: "blocks.{}.attn.proj"},
    "hf-vit": {FF: "layers.{}.mlp.fc2", ATT: "layers.{}.attention.o_proj"}
    if transformers.__version__ >= "5"
    else {FF: "encoder.layer.{}.output.dense", ATT: "encoder.layer.{}.attention.output.dense"},
    "torchvision-vit": {
        FF: "encoder.layers.encoder_layer_{}.mlp.3",
        ATT: "encoder.layers.encoder_layer_{}.self_attention",
    },
    "torch-encoder": {FF: "encoder.layers.{}.linear2", ATT: "encoder.layers.{}.self_attn"},
}
T5_PLACES = {
    FF: ["encoder.block.{}.layer.1.DenseReluDense.wo", "decoder.block.{}.layer.2.DenseReluDense.wo"],
    ATT: [
        "encoder.block.{}.layer.0.SelfAttention.o",
        "decoder.block.{}.layer.0.SelfAttention.o",
        "decoder.block.{}.layer.1.EncDecAttention.o",
    ],
}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, list[str]], Callable[..., Tensor]]] = {
    name: (ATTENTION[name], {place: [pattern] for place, pattern in where.items()}, pictures)
    for name, where in PLACES.items()
} | {"t5": (lambda: T5ForConditionalGeneration(TINY), T5_PLACES, text)}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    ("places", "activation", "scale"), [(FF, "relu", 1.0), (ATT, "tanh", 2.0), ("houlsby", "gelu", 0.5)]
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_the_same_as_by_hand(network: str, places: Any, activation: Any, scale: float) -> None:
    torch.manual_seed(0)
    build, patterns, run = NETWORKS[network]
    backbone = build().double().eval()
    wrapped = copy.deepcopy(backbone)
    for module in wrapped.modules():  # its fused path calls no hooks
        if isinstance(module, nn.TransformerEncoder):
            module.enable_nested_tensor = module.use_nested_tensor = False
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
    model = tfold.MultiTask(backbone, tfold.BottleneckAdapter(3, places, activation, scale, norm=False)).eval()
    task = model.add_task("a").double()
    paths = {
        pattern.format(n)
        for place, several in patterns.items()
        for pattern in several
        for n in range(2)
        if places in (place, "houlsby")
    }
    assert set(task.sites) == paths
    mine: list[Tensor] = []
    theirs: list[Tensor] = []
    for (path, _), part in parts_of(task):
        sigma = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "gelu": nn.GELU()}[activation]
        hand = Bottleneck(part.own["up"].shape[0], 3, sigma, scale).double()
        wrapped.get_submodule(path).register_forward_hook(hand)
        for name, tensor in (("down", hand.down.weight), ("up", hand.up.weight)):
            mine += [part.own[name], part.own[f"{name}_bias"]]
            theirs += [tensor, hand.get_submodule(name).bias]  # type: ignore[list-item]
    with torch.no_grad():
        for ours, other in zip(mine, theirs, strict=True):
            ours.copy_(other.normal_(std=0.5))
    found, wanted = run(model, task="a"), run(wrapped)
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, run(backbone), atol=1e-2)
    toward = torch.randn_like(wanted)
    for ours, other in zip(
        torch.autograd.grad((found * toward).sum(), mine),
        torch.autograd.grad((wanted * toward).sum(), theirs),
        strict=True,
    ):
        torch.testing.assert_close(ours, other)


def test_text_of_several_tasks() -> None:
    """Beams are rows of their task; generation runs through the bank too."""
    torch.manual_seed(0)
    model = tfold.MultiTask(T5ForConditionalGeneration(TINY), tfold.BottleneckAdapter(places="houlsby")).eval()
    for name, width in {"a": 4, "b": 6}.items():
        model.add_task(name, width=width)
        with torch.no_grad():
            for parameter in model[name].parameters():
                parameter.add_(torch.randn_like(parameter))
    words, names = torch.arange(18).reshape(3, 6), ["b", "a", "b"]
    settings = {"num_beams": 2, "max_new_tokens": 5, "min_new_tokens": 5}
    alone = {name: model.generate(words, task=name, **settings) for name in "ab"}
    wanted = torch.stack([alone[name][n] for n, name in enumerate(names)])
    assert not torch.equal(alone["a"], alone["b"])
    assert torch.equal(model.generate(words, task=names, **settings), wanted)
    assert torch.equal(model.bank().generate(words, task=names, **settings), wanted)


@pytest.mark.parametrize("field", ["width", "places", "activation", "scale", "init", "sharing"])
def test_what_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}"):
        tfold.BottleneckAdapter(**{field: 0 if field in ("width", "scale") else "none"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sharing='poly' mixes"):
        tfold.BottleneckAdapter(sharing="poly")


def test_a_network_without_such_sublayers() -> None:
    model = tfold.MultiTask(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.LayerNorm(3)))
    for places, what in ((FF, "feed-forward blocks"), ("houlsby", "attention")):
        with pytest.raises(ValueError, match=f"Sequential has no {what} to adapt; it has 1 × linear layer"):
            model.add_task("a", method=tfold.BottleneckAdapter(places=places))  # type: ignore[arg-type]
    assert not model.tasks


@pytest.mark.parametrize("suffix", ["onnx", pytest.param("pt2", marks=pytest.mark.whole)])  # ONNX is made of it
def test_a_bank_is_exported(suffix: str, tmp_path: Path) -> None:
    """Batches of any size; channels last and second."""
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 3, 1))
    second = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))
    network = nn.Sequential(first, nn.Flatten(2), second, nn.Flatten())
    model = tfold.MultiTask(network, tfold.BottleneckAdapter(4, norm=False, init="authors"), num_features=48).eval()
    for name in "ab":
        assert list(model.add_task(name, head=2).sites) == ["0.2", "2.2"]
    bank = model.bank()
    given = [torch.randn(2, 3, 4, 4), bank.index(["b", "a"])]
    assert export(bank, given, tmp_path / f"bank.{suffix}") < 1e-5


def test_a_report_lists_no_weights_that_an_adapter_moves() -> None:
    model = tfold.MultiTask(nn.TransformerEncoderLayer(6, 2, 8), tfold.BottleneckAdapter(2))
    model.add_task("adapter")
    model.add_task("copy", method=tfold.FineTuning())
    assert layer_changes(model, "adapter") == []
    assert len(layer_changes(model, "copy")) == 4
