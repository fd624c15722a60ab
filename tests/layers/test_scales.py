"""Scales behind layers: their places, their initialisation, what is refused."""

from __future__ import annotations

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5LayerNorm

from taskfold import SSF, MultiTask
from taskfold.layers import parts_of


def placed(network: nn.Module, method: SSF) -> dict[str, set[str]]:
    task = MultiTask(network).add_task("a", method=method)
    return {path: set(part.own) for (path, _), part in parts_of(task)}


def test_they_stand_behind_linear_layers_convolutions_and_normalisations() -> None:
    network = nn.Sequential(
        nn.Conv1d(3, 4, 1), nn.ReLU(), nn.BatchNorm1d(4), nn.ConvTranspose1d(4, 6, 2), nn.Linear(6, 6), T5LayerNorm(6)
    )
    both = {"scale", "shift"}
    assert placed(network, SSF()) == {"0": both, "2": both, "3": both, "4": both, "5": {"scale"}}
    assert placed(network, SSF(targets=("*", "!0", "![23]"))).keys() == {"4", "5"}


def test_a_language_models_output_layer_has_none() -> None:
    config = T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2, tie_word_embeddings=False)  # type: ignore[call-arg]
    paths = placed(T5ForConditionalGeneration(config), SSF())
    assert "lm_head" not in paths
    assert "encoder.final_layer_norm" in paths
    assert "shared" not in paths


def test_the_authors_start_is_near_the_backbone() -> None:
    torch.manual_seed(0)
    task = MultiTask(nn.Linear(4, 4000), SSF(init="authors")).add_task("a")
    leaves = {name: leaf for _, part in parts_of(task) for name, leaf in part.own.items()}
    for name, mean in (("scale", 1.0), ("shift", 0.0)):
        assert leaves[name].mean().item() == pytest.approx(mean, abs=2e-3)
        assert leaves[name].std().item() == pytest.approx(0.02, abs=2e-3)


def test_they_train_at_a_rate_of_their_own() -> None:
    task = MultiTask(nn.Linear(4, 4), SSF()).add_task("a")
    assert task.rates()["scale"] == 1e-3


def test_a_scale_stands_before_an_activation_that_a_normalisation_brings_along() -> None:
    network = nn.Sequential(BatchNormAct2d(4)).eval()
    model = MultiTask(network, SSF()).eval()
    task = model.add_task("a")
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.fill_(-2.0)
    x = torch.randn(2, 4, 3, 3)
    wanted = (-2 * nn.functional.batch_norm(x, torch.zeros(4), torch.ones(4)) - 2).relu()
    assert wanted.max() > 0.5
    torch.testing.assert_close(model(x, task="a"), wanted)


def test_a_bank_of_scales_compiles_as_one_graph() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4), nn.Flatten(), nn.Linear(16, 5), nn.LayerNorm(5))
    model = MultiTask(network.eval(), SSF(init="authors")).eval()
    for name in "ab":
        model.add_task(name)
    bank = model.bank()
    x, index = torch.randn(3, 3, 4, 4), bank.index(list("bab"))
    with torch.no_grad():
        found = torch.compile(bank, backend="eager", fullgraph=True)(x, index)
        torch.testing.assert_close(found, bank(x, index))


@pytest.mark.parametrize(
    ("network", "settings", "says"),
    [
        (
            nn.Sequential(nn.MultiheadAttention(4, 2)),
            {},
            r"layer '0' \(attention unit, MultiheadAttention\) has no axis of channels .* targets=\('\*', '!0'\)",
        ),
        (nn.Sequential(nn.LayerNorm([3, 4])), {}, r"layer '0' \(normalisation, LayerNorm\) has no axis of channels"),
        (nn.Sequential(nn.BatchNorm2d(3, affine=False)), {}, r"layer '0' \(BatchNorm, BatchNorm2d\) has no axis of"),
        (nn.Sequential(nn.Linear(3, 3)), {"targets": "x"}, r"targets='x' selects none of the 1 linear layers, .*: 0"),
        (nn.Sequential(nn.ReLU()), {}, r"selects none of the 0 linear layers.* of Sequential: there are none"),
        (nn.Linear(3, 3), {"init": "zero"}, r"init='zero' is not known; choose one of exact, authors"),
        (nn.Linear(3, 3), {"sharing": "tensorpoly-i"}, r"layer '': tensorpoly-i weighs the terms of a sum"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_is_refused(network: nn.Module, settings: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        MultiTask(network).add_task("a", method=SSF(**settings))


def test_tasks_may_share_one_scale() -> None:
    model = MultiTask(nn.Linear(3, 3), SSF(sharing="shared"))
    model.add_task("a")
    assert not list(model.add_task("b").parameters())
    assert sum(leaf.numel() for leaf in model.inventory.parameters()) == 6
