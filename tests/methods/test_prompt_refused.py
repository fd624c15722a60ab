"""Prompts and prefixes where they don't fit."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from transformers import DynamicCache, XLNetConfig, XLNetModel

import taskfold as tfold

from .test_prompt import gpt2, model_of, t5, texts, words


def test_caches_of_others_are_refused() -> None:
    model = model_of(gpt2, tfold.PromptTuning(tokens=3))
    network: Any = model.backbone
    cache = DynamicCache()
    network(words(1), past_key_values=cache, use_cache=True)
    with pytest.raises(ValueError, match="a cache of 6 positions was written without them"):
        model(words(1), past_key_values=cache, use_cache=True, task="a")
    with pytest.raises(ValueError, match="needs a cache that grows"):
        model.generate(words(1), task="a", max_new_tokens=3, cache_implementation="static")
    with pytest.raises(ValueError, match="or cut since"):
        model.generate(words(1), task="a", max_new_tokens=9, prompt_lookup_num_tokens=2)
    with pytest.raises(ValueError, match=r"'attention_mask' .*it is not known what of it belongs"):
        model(words(1), attention_mask=torch.zeros(1, 1, 6, 6, dtype=torch.float64), task="a")
    text = model_of(t5, tfold.PromptTuning(tokens=3))
    plain: Any = text.backbone
    with pytest.raises(ValueError, match="give the output of the task's own encoder"):
        text(**texts(), encoder_outputs=plain.encoder(**texts()), decoder_input_ids=words(4), task="a")

    net = XLNetModel(XLNetConfig(vocab_size=30, d_model=16, n_layer=1, n_head=2, d_inner=16))
    kept = tfold.MultiTask(net, tfold.PromptTuning(tokens=3)).eval()
    kept.add_task("a")
    with pytest.raises(ValueError, match=r"needs a cache that grows .*found tuple"):
        kept(words(1), mems=kept(words(1), task="a", use_mems=True).mems, task="a")


@pytest.mark.parametrize(
    ("name", "found"),
    [("resnet18", "no attention"), ("swin_tiny_patch4_window7_224", r"does not take \[2, 5, 96\] alone")],
)
def test_other_networks_are_refused_when_a_task_is_added(name: str, found: str) -> None:
    with torch.device("meta"):
        model = tfold.MultiTask(timm.create_model(name, num_classes=0), tfold.PromptTuning())
    with pytest.raises(ValueError, match=f"no token sequence that is known: looked for .* found .*{found}"):
        model.add_task("one")


@pytest.mark.parametrize("method", [tfold.PromptTuning, tfold.PrefixTuning])
def test_rows_leave_positions_for_a_text(method: type[tfold.Method]) -> None:
    net: Any = gpt2(1)
    most = int(net.config.n_positions)
    model = tfold.MultiTask(net, method(tokens=most))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=f"tokens={most} leaves no position for a text, as max_position_embeddings is"):
        model.add_task("one")
    model.add_task("short", tokens=most - 4)
    ids = torch.ones(2, 5, dtype=torch.long)
    with pytest.raises(ValueError, match=f"rows of a task and its text are {most + 1} positions"):
        model.eval()(ids, task="short", use_cache=False)
    assert model(ids[:, :4], task="short", use_cache=False).logits.shape[1] == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 0}, "tokens must be a whole number ≥ 1, found 0"),
        ({"init": "zero"}, "init='zero' is not known"),
        ({"sharing": "poly"}, "mixes the terms of a sum"),
        ({"frozen_stages": 1}, "rows come in before the first stage"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfold.PromptTuning(**settings)
