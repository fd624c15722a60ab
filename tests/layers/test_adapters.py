"""The places of adapters in networks of several libraries, and where they are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers as hf
from torch import Tensor, nn

import taskfold as tfold
from taskfold.interventions import Adapter
from taskfold.layers import Adapters, Attention, Convolutions, FeedForwards, Linears, Recipe
from taskfold.routing import PolyRouting, Shared

from ..recipes import OfRecipes

SMALL: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "vocab_size": 20,
}
BART: dict[str, Any] = {"d_model": 24, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 20} | {
    f"{side}_attention_heads": 3 for side in ("encoder", "decoder")
}
T5: dict[str, Any] = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 20}
GPT: dict[str, Any] = {"n_embd": 24, "n_layer": 1, "n_head": 3, "vocab_size": 20, "bos_token_id": 1, "eos_token_id": 1}
ENCODER = "encoder.layers.encoder_layer_0"
NEW = hf.__version__ >= "5"  # transformers names a ViT's layers otherwise since then


def _timm(name: str, **settings: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=0, **settings)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "timm-vit": (_timm("vit_tiny_patch16_224", depth=2), ["blocks.0.mlp.fc2", "blocks.1.mlp.fc2"]),
    "timm-eva": (_timm("eva02_tiny_patch14_224", depth=1), ["blocks.0.mlp.fc2"]),
    "timm-convnext": (
        _timm("convnext_atto", depths=(1, 1, 1, 1), conv_mlp=True),
        [f"stages.{n}.blocks.0.mlp.fc2" for n in range(4)],
    ),
    "torchvision-vit": (
        lambda: torchvision.models.VisionTransformer(32, 16, 1, 3, 24, 48),
        [f"{ENCODER}.mlp.3"],
    ),
    "torch-encoder": (lambda: nn.TransformerEncoderLayer(16, 2, 32), ["linear2"]),
    "hf-vit": (
        lambda: hf.ViTModel(hf.ViTConfig(**SMALL, image_size=32)),
        ["layers.0.mlp.fc2" if NEW else "encoder.layer.0.output.dense"],
    ),
    "bert": (lambda: hf.BertModel(hf.BertConfig(**SMALL)), ["encoder.layer.0.output.dense"]),
    "distilbert": (
        lambda: hf.DistilBertModel(hf.DistilBertConfig(dim=24, n_layers=1, n_heads=3, hidden_dim=48, vocab_size=20)),
        ["transformer.layer.0.ffn.lin2"],
    ),
    "albert": (
        lambda: hf.AlbertModel(hf.AlbertConfig(**SMALL, embedding_size=8)),
        ["encoder.albert_layer_groups.0.albert_layers.0.ffn_output"],
    ),
    "gpt2": (lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**GPT)), ["transformer.h.0.mlp.c_proj"]),
    "gpt-neox": (lambda: hf.GPTNeoXModel(hf.GPTNeoXConfig(**SMALL)), ["layers.0.mlp.dense_4h_to_h"]),
    "llama": (lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL)), ["model.layers.0.mlp.down_proj"]),
    "bart": (lambda: hf.BartModel(hf.BartConfig(**BART)), ["encoder.layers.0.fc2", "decoder.layers.0.fc2"]),
    "t5": (
        lambda: hf.T5ForConditionalGeneration(hf.T5Config(**T5)),
        ["encoder.block.0.layer.1.DenseReluDense.wo", "decoder.block.0.layer.2.DenseReluDense.wo"],
    ),
    # Squeeze and excitation is narrow in the middle; a head of two layers does not lead back.
    "efficientnet": (_timm("efficientnet_b0"), []),
    "regnet": (_timm("regnety_002"), []),
    "head": (lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), []),
    "two-layers": (lambda: nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4)), []),
    "sequential": (lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)), ["2"]),
}


@pytest.mark.parametrize(("build", "wanted"), NETWORKS.values(), ids=NETWORKS)
def test_feed_forward_blocks_are_found(build: Callable[[], nn.Module], wanted: list[str]) -> None:
    with torch.device("meta"):
        network = build()
    assert [target.path for target in FeedForwards().candidates(network)] == wanted


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh()).double()


def stir(model: tfold.MultiTask) -> None:
    with torch.no_grad():
        for parameter in [*model.parameters()]:
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter))


def agrees(model: tfold.MultiTask) -> None:
    """Mixed batches, broadcast and the bank say what the tasks say one by one, and no two say the same."""
    model.double().eval()
    x, names = torch.randn(3, 6).double(), list(model.tasks)
    with torch.no_grad():
        alone = {name: model(x, task=name) for name in names}
        for one in names:
            for other in names:
                assert one == other or not torch.allclose(alone[one], alone[other], atol=1e-3)
        rows = [names[n % len(names)] for n in range(3)]
        wanted = torch.stack([alone[name][n] for n, name in enumerate(rows)])
        bank = model.bank()
        torch.testing.assert_close(model(x, task=rows), wanted)
        torch.testing.assert_close(bank(x, task=rows), wanted)
        for run in (model, bank):
            torch.testing.assert_close(run(x, task=names, broadcast=True), alone)


def test_tasks_of_other_settings_at_one_layer() -> None:
    """Bottlenecks that differ in σ, scale, width and place, and a task that leaves a layer alone; in any order."""
    relu, wide = Adapters(Linears(), width=2), Adapters(Linears(), width=5)
    others = Adapters(Linears(), Adapter("tanh", 0.5), width=3), Adapters(Linears("2"), Adapter(beside=True), width=3)
    for recipes in ((relu, wide, *others), (*others, relu, wide), (others[0], wide, others[1], relu)):
        model = tfold.MultiTask(net())
        for n, recipe in enumerate(recipes):
            model.add_task(f"t{n}", method=OfRecipes(recipe))
        stir(model)
        agrees(model)


def test_updates_inside_an_adapter() -> None:
    model = tfold.MultiTask(net())
    model.add_task("lora", method=tfold.LoRA(rank=2))
    model.add_task("adapter", method=OfRecipes(Adapters(Linears("0"), width=2)))
    stir(model)
    agrees(model)


def test_shared_adapters_of_other_settings_are_other_tasks() -> None:
    """They use the same numbers, and still are not the same."""
    model = tfold.MultiTask(net())
    model.add_task("relu", method=OfRecipes(Adapters(Linears(), width=2, sharing=Shared())))
    model.add_task("tanh", method=OfRecipes(Adapters(Linears(), Adapter("tanh"), 2, sharing=Shared())))
    assert not any(parameter.numel() for name in model.tasks for parameter in model[name].parameters())
    with torch.no_grad():
        for leaf in model.inventory.parameters():
            leaf.copy_(torch.randn_like(leaf))
    agrees(model)


@pytest.mark.parametrize("init", ["zero", "authors"])
def test_where_it_starts_and_that_it_learns(init: Any) -> None:
    network = net()
    model = tfold.MultiTask(network)
    task = model.add_task("a", method=OfRecipes(Adapters(Linears(), Adapter("gelu"), 5, init)))
    model.double()
    x = torch.randn(4, 6).double()
    assert torch.equal(model(x, task="a"), network(x)) == (init == "zero")
    torch.testing.assert_close(model(x, task="a"), network(x), rtol=0, atol=0.02)
    optimiser = torch.optim.SGD(task.parameters(), lr=0.1)
    for _ in range(2):  # with W_up at zero, W_down learns from the second step on
        gradients = torch.autograd.grad(model(x, task="a").square().sum(), [*task.parameters()])
        for parameter, gradient in zip(task.parameters(), gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
    assert all(gradient.ne(0).all() for gradient in gradients)


def refused(network: nn.Module, recipe: Recipe, said: str) -> None:
    model = tfold.MultiTask(network)
    with pytest.raises(ValueError, match=said):
        model.add_task("a", method=OfRecipes(recipe))
    assert not model.tasks
    assert not model.inventory


def test_what_is_refused() -> None:
    refused(
        timm.create_model("resnet18", num_classes=0),
        Adapters(FeedForwards()),
        r"ResNet has no feed-forward blocks to adapt; it has 20 × convolution, 20 × BatchNorm: choose a method for",
    )
    refused(
        nn.TransformerEncoderLayer(8, 2, 16),
        Adapters(FeedForwards("mlp*")),
        r"targets='mlp\*' selects none of the 1 feed-forward blocks: linear2",
    )
    conv = nn.Sequential(nn.Conv2d(3, 3, 3))
    said = r"layer '0' \(convolution, Conv2d\): an adapter beside it needs .*1×1 convolutions without a stride fit"
    refused(conv, Adapters(Convolutions(stem=True), Adapter(beside=True)), said)
    block = nn.TransformerEncoderLayer(8, 2, 16)
    nn.utils.parametrizations.weight_norm(block.linear2)
    with pytest.raises(TypeError, match=r"layer 'linear2' .* has no plain parameter 'weight'"):
        tfold.MultiTask(block).add_task("a", method=OfRecipes(Adapters(FeedForwards())))
    for settings, said in (
        ({"width": 0}, "width must be a whole number ≥ 1, found 0"),
        ({"width": 2.5}, "found 2.5"),
        ({"width": True}, "found True"),
        ({"init": "one"}, "init='one' is not known; choose one of zero, authors"),
        ({"sharing": PolyRouting()}, "sharing='poly' mixes the terms of a sum.* use 'private' or 'shared'"),
    ):
        with pytest.raises(ValueError, match=said):
            Adapters(Attention(), **settings)  # type: ignore[arg-type]


def test_a_unit_ends_where_its_output_does() -> None:
    """Behind attention that is one layer: the first of its outputs; a batch whose first axis is no row is refused."""
    for batch_first in (True, False):
        model = tfold.MultiTask(nn.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=batch_first).double())
        for name in "ab":
            model.add_task(name, method=OfRecipes(Adapters(Attention("*", ("output",)), width=2)))
        stir(model)
        assert list(model["a"].sites) == ["self_attn"]
        model.double().eval()
        x = torch.randn(2, 2, 6).double()
        hidden = torch.zeros(2, 2, dtype=torch.bool)
        alone: list[Tensor] = [model(x, task=name, src_key_padding_mask=hidden) for name in "ab"]
        if batch_first:
            mixed = model(x, task=["a", "b"], src_key_padding_mask=hidden)
            torch.testing.assert_close(torch.stack(list(mixed)), torch.stack([alone[0][0], alone[1][1]]))
        else:
            with pytest.raises(ValueError, match="TransformerEncoderLayer can't answer a mixed batch"):
                model(x, task=["a", "b"], src_key_padding_mask=hidden)
