"""Prefix tuning against PEFT, and against T-Few's attention written out; two layers that make the rows in training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import transformers
from torch import Tensor, nn

import taskfold as tfold
from taskfold.layers import parts_of
from taskfold.testing import check_method

from .test_prompt import Read, bert, gpt2, gradients, llama, model_of, output_of, t5, texts, words


def rows_of(model: tfold.MultiTask, name: str) -> dict[str, dict[str, Tensor]]:
    """The rows of keys and of values, by layer."""
    found: dict[str, dict[str, Tensor]] = {}
    for (path, part), held in parts_of(model[name]):
        if "rows" in held.own:
            found.setdefault(path, {})[part.partition(":")[2]] = held.own["rows"]
    return found


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")  # PEFT asks for it
def test_the_same_as_peft() -> None:
    peft = pytest.importorskip("peft", minversion="0.21")
    model = model_of(gpt2, tfold.PrefixTuning(tokens=3))
    twin = gpt2().double().eval()
    twin.load_state_dict(model.backbone.state_dict())
    theirs = peft.get_peft_model(twin, peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).double()
    weight = theirs.eval().prompt_encoder["default"].embedding.weight
    mine = [rows for held in rows_of(model, "a").values() for rows in (held["key"], held["value"])]
    with torch.no_grad():
        weight.copy_(torch.cat(mine, 1))
    found, wanted = (output_of(made) for made in (model(**texts(), task="a"), theirs(**texts())))
    assert (found - output_of(model.backbone(**texts()))).abs().max() > 0.01
    torch.testing.assert_close(found, wanted)
    (gradient,) = gradients(wanted, [weight])
    torch.testing.assert_close(torch.cat(gradients(found, mine), 1), gradient)


def attend(
    module: Any,
    rows: dict[str, Tensor],
    states: Tensor,
    mask: Tensor | None = None,
    key_value_states: Tensor | None = None,
    position_bias: Tensor | None = None,
    **_: object,
) -> tuple[Tensor, Tensor | None, None]:
    """T5's attention with rows before its keys and values, and positions as if they preceded the text."""
    source, count = states if key_value_states is None else key_value_states, len(rows["key"])

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (module.n_heads, -1)).transpose(1, 2)

    q = heads(module.q(states))
    k = heads(torch.cat([rows["key"].expand(len(states), -1, -1), module.k(source)], 1))
    v = heads(torch.cat([rows["value"].expand(len(states), -1, -1), module.v(source)], 1))
    if position_bias is None:
        total = count + states.shape[1]
        position_bias = (
            module.compute_bias(total, total)[:, :, count:]
            if module.has_relative_attention_bias
            else torch.zeros(1, 1, states.shape[1], k.shape[2]).double()
        )
    assert position_bias is not None
    scores: Tensor = q @ k.mT + position_bias
    if mask is None and key_value_states is None and module.is_decoder:
        mask = torch.ones(states.shape[1], states.shape[1], dtype=torch.bool).tril()
    if mask is not None:
        visible = nn.functional.pad(mask == 0 if mask.is_floating_point() else mask, (count, 0), value=True)
        scores = scores.masked_fill(~visible, -torch.inf)
    return module.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2)), position_bias, None


@pytest.mark.skipif(transformers.__version__ < "5", reason="written for the attention of transformers 5")
def test_an_encoder_and_its_decoder_have_rows_in_every_attention() -> None:
    model = model_of(t5, tfold.PrefixTuning(tokens=3))
    rows = rows_of(model, "a")
    twin = copy.deepcopy(model.backbone)
    attentions = {path: module for path, module in twin.named_modules() if hasattr(module, "compute_bias")}
    assert len(attentions) == 6
    for path, module in attentions.items():
        mine = {"key": rows[f"{path}.k"]["key"], "value": rows[f"{path}.v"]["value"]}
        module.forward = partial(attend, module, mine)  # type: ignore[method-assign]
    given = texts() | {"decoder_input_ids": words(4)[:, :4]}
    found, wanted = model(**given, task="a").logits, twin(**given, use_cache=False).logits
    assert (found - model.backbone(**given).logits).abs().max() > 0.01
    torch.testing.assert_close(found, wanted)
    leaves = list(model["a"].parameters())
    torch.testing.assert_close(gradients(found, leaves), gradients(wanted, leaves))


@pytest.mark.parametrize("build", [gpt2, llama, t5, bert])
def test_mixed_batches_and_banks_are_the_tasks(build: Callable[[], nn.Module]) -> None:
    model, rows = model_of(build, tfold.PrefixTuning()), ["b", "a", "a", "b"]
    given: dict[str, Any] = texts() | ({"decoder_input_ids": words(4)[:, :4]} if build is t5 else {})
    given |= {} if build is bert else {"use_cache": False}
    with torch.no_grad():
        alone = {name: output_of(model(**given, task=name)) for name in "ab"}
        wanted = torch.stack([alone[name][n] for n, name in enumerate(rows)])
        assert (alone["a"] - alone["b"]).abs().max() > 0.001
        torch.testing.assert_close(output_of(model(**given, task=rows)), wanted)
        torch.testing.assert_close(output_of(model.bank()(**given, task=rows)), wanted)
        for name, made in model(**given, task=["a", "b"], broadcast=True).items():
            torch.testing.assert_close(output_of(made), alone[name])


@pytest.mark.parametrize("build", [llama, t5])
@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_generates_with_a_cache_as_without(build: Callable[[], nn.Module], settings: dict[str, int]) -> None:
    model, rows = model_of(build, tfold.PrefixTuning()), ["b", "a", "a", "b"]
    length = {"max_new_tokens": 5, "min_new_tokens": 5}
    alone = {name: model.generate(**texts(), task=name, **length, **settings) for name in "ab"}
    for name, found in alone.items():
        assert torch.equal(found, model.generate(**texts(), task=name, use_cache=False, **length, **settings))
    mixed = model.generate(**texts(), task=rows, **length, **settings)
    assert torch.equal(mixed, torch.stack([alone[name][n] for n, name in enumerate(rows)]))


def test_laws_on_text() -> None:
    check_method(tfold.PrefixTuning(), {"gpt2": Read}, inputs=words, laws=["file", "threads"])
    check_method(tfold.PrefixTuning(mlp=5), {"gpt2": Read}, inputs=words, laws=["learning", "gradients", "bank"])


def test_two_layers_make_the_rows_and_the_file_holds_rows(tmp_path: Path) -> None:
    """The embedding and the first layer are common to the attentions of a kind, as in T-Few."""
    model = model_of(t5, tfold.PrefixTuning(mlp=5))
    common, own = 2 * 16 + 5 * 16 + 5, 5 * 12 + 12  # of a kind; of the keys, or the values, of an attention
    assert model["a"].counts()["prefix"] == 3 * common + 2 * 3 * 2 * own
    _, part = next(one for one in parts_of(model["a"]) if "up" in one[1].own)
    held = part.own
    hidden = (held["embedding"] @ held["down"].mT + held["down_bias"]).tanh()
    wanted = hidden @ held["up"].mT + held["up_bias"]
    kind: Any = type("Kind", (), {"dtype": torch.float64})
    torch.testing.assert_close(part.tensors(kind, {}, None)["rows"], wanted)  # type: ignore[arg-type]
    model.save_task("a", tmp_path / "a.safetensors")
    assert model["a"].method["settings"]["mlp"] == 5
    other = tfold.MultiTask(model.backbone).eval()
    loaded = other.load_task(tmp_path / "a.safetensors")
    assert loaded.method["settings"]["mlp"] == 0
    assert loaded.counts()["prefix"] == 2 * 3 * 2 * 2 * 12
    given = texts() | {"decoder_input_ids": words(4)}
    assert torch.equal(other(**given, task="a").logits, model(**given, task="a").logits)


def test_attention_that_is_one_module_is_refused() -> None:
    network = torchvision.models.VisionTransformer(32, 16, 2, 3, 24, 48)
    model = tfold.MultiTask(network, tfold.PrefixTuning(), num_features=1000)
    with pytest.raises(ValueError, match=r"layer 'encoder.layers.encoder_layer_0.self_attention' .*within itself"):
        model.add_task("one")
    with pytest.raises(ValueError, match="no attention"):
        tfold.MultiTask(torchvision.models.resnet18(), tfold.PrefixTuning()).add_task("one")
    folding = model_of(gpt2, tfold.PrefixTuning())
    with pytest.raises(ValueError, match="are input, not weight"):
        folding.fold("a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 0}, "tokens must be a whole number ≥ 1, found 0"),
        ({"mlp": -1}, "mlp must be a whole number ≥ 0, found -1"),
        ({"mlp": 4, "sharing": "shared"}, "mlp=4 makes rows of a task's own"),
        ({"frozen_stages": 1}, "rows come in before the first stage"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfold.PrefixTuning(**settings)
