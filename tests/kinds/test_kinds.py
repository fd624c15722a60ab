"""The kind of a module as a layer; what a task can't adapt in it is refused when the task is added."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

import taskfold as tfold
from taskfold.kinds import kind_of


class Packed(nn.Linear):
    """A linear layer in four bits: two numbers in a byte."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        codes = torch.randint(0, 16, (outputs * inputs,), dtype=torch.uint8)
        self.weight = nn.Parameter((codes[::2] * 16 + codes[1::2])[:, None], requires_grad=False)

    def forward(self, input: Tensor) -> Tensor:
        codes = torch.stack([self.weight[:, 0] // 16, self.weight[:, 0] % 16], 1).flatten()
        return nn.functional.linear(input, (codes.float() / 8 - 1).reshape(self.out_features, -1), self.bias)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Conv1d(2, 3, 3), "convolution"),
        (nn.Conv3d(2, 3, 3), "convolution"),
        (nn.ConvTranspose2d(2, 3, 3), "transposed convolution"),
        (nn.Linear(2, 3), "linear layer"),
        (Conv1D(2, 3), "linear layer"),
        (Packed(4, 2), "quantised linear layer"),
        (nn.Embedding(4, 2), "embedding"),
        (nn.BatchNorm1d(2), "BatchNorm"),
        (nn.LayerNorm(2), "normalisation"),
        (nn.MultiheadAttention(4, 2), "attention unit"),
        (nn.GRU(2, 3), "recurrent layer"),
        (nn.ReLU(), "module"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_kind_of_a_module(module: nn.Module, words: str) -> None:
    assert kind_of(module).words == words


def gpt2(kind: type = GPT2LMHeadModel) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 40, "n_positions": 12, "pad_token_id": 0}
    return kind(GPT2Config(**sizes)).eval()


@pytest.mark.filterwarnings("ignore:task '.'. the backbone's own classifier 'score'")
@pytest.mark.parametrize("kind", [GPT2LMHeadModel, GPT2ForSequenceClassification])
def test_gpt2_is_adapted_in_its_own_layers(kind: type) -> None:
    """Not in the classifier alone: its linear layers are transformers' own."""
    network = gpt2(kind)
    model = tfold.MultiTask(network, tfold.LoRA(rank=2, init="normal")).eval()
    layers = set(model.add_task("a").sites)
    for parameter in [*model["a"].parameters(), *model.add_task("b").parameters()]:
        nn.init.normal_(parameter, std=0.3)
    assert {name for name in layers if name.endswith(("c_attn", "c_proj", "c_fc"))} >= {
        f"transformer.h.{n}.{name}" for n in (0, 1) for name in ("attn.c_attn",)
    }
    words = torch.randint(1, 40, (3, 7))
    with torch.no_grad():
        alone = {name: model(words, task=name).logits for name in "ab"}
        assert (alone["a"] - alone["b"]).abs().max() > 1e-2
        mixed = model(words, task=list("aba")).logits
        folded = model.fold("a")(words).logits
    torch.testing.assert_close(folded, alone["a"], rtol=1e-4, atol=1e-5)
    for row, name in enumerate("aba"):
        torch.testing.assert_close(mixed[row], alone[name][row], rtol=1e-4, atol=1e-5)


def test_an_update_stands_beside_packed_weights() -> None:
    """Trained, mixed and served; a fold has nothing to be folded into, and says the way out."""
    torch.manual_seed(0)
    network = nn.Sequential(Packed(6, 4), nn.ReLU(), nn.Linear(4, 5))
    model = tfold.MultiTask(network, tfold.LoRA(rank=2, layers="linear", init="normal")).eval()
    for name in "ab":
        model.add_task(name)
    x = torch.randn(4, 6)
    own = model["a"].state_dict()
    up, down = (own[f"sites.0.0:weight.own.{name}"] for name in ("up", "down"))
    last = own["sites.2.0:weight.own.up"] @ own["sites.2.0:weight.own.down"]
    hidden = (network[0](x) + x @ down.mT @ up.mT).relu()
    wanted = network[2](hidden) + hidden @ last.mT
    torch.testing.assert_close(model(x, task="a"), wanted)
    for run in (model, model.bank()):
        mixed = run(x, task=list("abab"))
        for row, name in enumerate("abab"):
            torch.testing.assert_close(mixed[row], model(x, task=name)[row])
    model(x, task="a").sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model["a"].parameters())
    with pytest.raises(ValueError, match=r"task 'a', layer '0': a quantised linear layer \(Packed\) has packed"):
        model.fold("a")
    with pytest.raises(ValueError, match="layer '0': a quantised linear layer"):
        tfold.MultiTask(network, tfold.OverParameterised()).add_task("c")


def test_a_module_in_several_places_is_refused() -> None:
    inner = nn.Linear(4, 4)
    network = nn.ModuleDict({"first": inner, "second": nn.Linear(4, 4), "third": inner})
    model = tfold.MultiTask(network, tfold.LoRA(rank=1, layers="linear"))
    with pytest.raises(ValueError, match=r"layer 'first' is one module in several places .* \(first, third\)"):
        model.add_task("a")
    assert list(model.add_task("b", targets="second").sites) == ["second"]


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.LazyLinear(3), r"layer '0' \(LazyLinear\) has no weights yet; run a batch"),
        (weight_norm(nn.Linear(4, 3)), "remove parametrisations"),
    ],
    ids=["lazy", "parametrised"],
)
def test_weights_that_are_not_plain_are_refused(layer: nn.Module, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        tfold.MultiTask(nn.Sequential(layer), tfold.LoRA(rank=1, layers="linear")).add_task("a")


def test_what_there_is_is_said_where_nothing_fits() -> None:
    network = nn.Sequential(nn.Embedding(5, 4), nn.LSTM(4, 3))
    with pytest.raises(ValueError, match=r"has no convolutions to adapt; it has 1 × embedding, 1 × recurrent layer"):
        tfold.MultiTask(network, tfold.FTN(rank=1)).add_task("a")


def test_kept_statistics_train_and_evaluate_alike() -> None:
    """A task that has γ and β and no running statistics of its own keeps the backbone's."""
    norm = nn.BatchNorm2d(3)
    norm.running_mean.normal_()  # type: ignore[union-attr]
    kind, x = kind_of(norm), torch.randn(4, 3, 5, 5)
    own = {"weight": torch.full((3,), 2.0), "bias": torch.ones(3)}
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    trained, evaluated = kind.run((x,), {}, own, True), kind.run((x,), {}, own, False)
    assert torch.equal(trained, evaluated)
    assert all(torch.equal(before[name], tensor) for name, tensor in norm.state_dict().items())
