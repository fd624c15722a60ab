"""Biases of tasks: which there are, their form in a bank, and new ones in layers without any."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel

from taskfold import BitFit, FineTuning, HeadNorm, MultiTask
from taskfold.layers import parts_of
from taskfold.methods import Method


def names(network: nn.Module, method: Method) -> set[str]:
    """Every tensor that a task has instead of the backbone's."""
    task = MultiTask(network).add_task("a", method=method)
    return {f"{path}.{name}" for (path, _), part in parts_of(task) for name in part.own.held()}


class Vocabulary(nn.Module):
    """T5's encoder without biases, on numbers that are rounded to words."""

    def __init__(self) -> None:
        super().__init__()
        config = T5Config(
            vocab_size=9, d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
        )
        self.encoder = T5EncoderModel(config)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(input_ids=(x * 3).round().long() % 9).last_hidden_state


NEW = {
    f"encoder.encoder.block.{n}.layer.{layer}.bias"
    for n in range(2)
    for layer in (*(f"0.SelfAttention.{name}" for name in "qkvo"), "1.DenseReluDense.wi_0", "1.DenseReluDense.wi_1")
}


def test_every_kind_of_bias_is_found() -> None:
    network = nn.ModuleDict(
        {
            "attention": nn.MultiheadAttention(4, 2, add_bias_kv=True),
            "reader": nn.GRU(4, 3, bidirectional=True),
            "conv": nn.Conv2d(3, 4, 1),
            "norm": nn.BatchNorm2d(4),
            "none": nn.Linear(4, 4, bias=False),
        }
    )
    biases = {"attention.in_proj_bias", "attention.out_proj.bias", "conv.bias", "norm.bias"}
    biases |= {f"reader.bias_{way}h_l0{back}" for way in "ih" for back in ("", "_reverse")}
    assert names(network, BitFit(norms=False)) == biases
    assert names(network, BitFit()) == biases | {"norm.weight"}
    assert names(network, BitFit(norms=False, create=True)) == biases | {"none.bias"}


def test_a_network_without_biases_gets_some() -> None:
    assert names(Vocabulary(), BitFit(norms=False)) == NEW
    with_wo = names(Vocabulary(), BitFit(norms=False, create_at="*"))
    assert {name.rsplit(".", 2)[1] for name in with_wo - NEW} == {"wo"}
    with pytest.raises(ValueError, match=r"no biases that a task could own; let linear layers have new ones"):
        names(Vocabulary(), BitFit(norms=False, create=False))


def test_tied_biases_stay_tied() -> None:
    network = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    network["b"].bias = network["a"].bias
    task = MultiTask(network).add_task("one", method=BitFit())
    assert task.counts()["bias"] == 3


@pytest.mark.parametrize("method", [BitFit(norms=False), BitFit()], ids=["biases", "norms"])
def test_new_biases_keep_the_promises(method: BitFit) -> None:
    torch.manual_seed(0)
    model = MultiTask(Vocabulary().eval(), method).double().eval()
    x = torch.randn(4, 5, dtype=torch.float64)
    for name in "ab":
        task = model.add_task(name)
        assert torch.equal(model(x, task=name), model.backbone(x))
        for parameter in task.parameters():
            nn.init.normal_(parameter, std=0.3)
    rows = list("abba")
    wanted = torch.stack([model(x, task=task)[n] for n, task in enumerate(rows)])
    assert (wanted[0] - model.backbone(x)[0]).abs().max() > 0.1
    torch.testing.assert_close(model(x, task=rows), wanted)
    torch.testing.assert_close(model.bank()(x, task=rows), wanted)
    folded = model.fold("a")
    torch.testing.assert_close(folded(x), model(x, task="a"))
    assert {name for name, _ in folded.named_parameters() if name.endswith("bias")} == NEW


def test_a_bank_holds_biases_and_no_weights() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 5), nn.LayerNorm(5))
    model = MultiTask(network, BitFit(norms=False)).eval()
    model.add_task("a")
    assert model.bank().table.numbers.shape[1] == 4 + 5 + 5


def test_a_bank_holds_them_beside_whole_copies() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5), nn.LayerNorm(5))
    model = MultiTask(network.double()).eval()
    for name, method in {"a": BitFit(norms=False), "b": FineTuning(), "c": HeadNorm()}.items():
        for parameter in model.add_task(name, method=method).parameters():
            nn.init.normal_(parameter)
    x, rows = torch.randn(5, 3, 4, 4, dtype=torch.float64), list("cabba")
    wanted = torch.stack([model(x, task=task)[n] for n, task in enumerate(rows)])
    torch.testing.assert_close(model(x, task=rows), wanted)
    for order in ("abc", "cba"):
        torch.testing.assert_close(model.bank(list(order))(x, task=rows), wanted)


def test_running_statistics_are_the_backbones_in_training() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model = MultiTask(network, BitFit()).train()
    model.add_task("a")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x = torch.randn(4, 3, 5, 5) + 3
    torch.testing.assert_close(model(x, task="a"), network.eval()(x))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not list(model["a"].buffers())


class Packed(nn.Linear):
    """A linear layer that has no name for a bias."""

    def __init__(self) -> None:
        super().__init__(4, 4, bias=False)
        del self._parameters["bias"]


@pytest.mark.parametrize(
    ("network", "settings", "says"),
    [
        (nn.Linear(3, 3), {"create": 1}, r"create must be true, false or none, found 1"),
        (nn.Linear(3, 3, bias=False), {"create_at": "x.*"}, r"create_at='x\.\*' selects none of the 1 linear layers"),
        (nn.Conv2d(3, 3, 1, bias=False), {}, r"has no linear layers to adapt; it has 1 × convolution"),
        (nn.Sequential(Packed()), {}, r"layer '0' \(linear layer, Packed\) has no place for a bias"),
        (nn.ReLU(), {"create": False}, r"ReLU has no biases that a task could own"),
    ],
)
def test_what_is_refused(network: nn.Module, settings: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        MultiTask(network).add_task("a", method=BitFit(**settings))
