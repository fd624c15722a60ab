"""Language models: the class that loads one, its tokenizer, its features, its file of weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from taskfold import HeadOnly, MultiTask
from taskfold.backbones import BackboneError, load

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 24}
SETTINGS = {
    "t5": {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 1, "vocab_size": 24},
    "llama": {**SMALL, "pad_token_id": 0},
    "gpt2": {"n_embd": 16, "n_head": 2, "n_layer": 1, "vocab_size": 24, "n_positions": 32, "pad_token_id": 0},
    "bert": SMALL,
}


def configuration(kind: str) -> Any:
    return transformers.AutoConfig.for_model(kind, **SETTINGS[kind])


def save(kind: str, name: str, folder: Path) -> nn.Module:
    torch.manual_seed(7)
    made = getattr(transformers, name)(configuration(kind)).eval()
    made.save_pretrained(folder)
    return made


@pytest.mark.parametrize(
    ("kind", "saved", "loaded", "generative"),
    [
        ("t5", "T5ForConditionalGeneration", "T5ForConditionalGeneration", "encoder-decoder"),
        ("t5", "T5Model", "T5Model", None),
        ("llama", "LlamaForCausalLM", "LlamaForCausalLM", "causal"),
        ("llama", "LlamaModel", "LlamaModel", None),
        ("gpt2", "GPT2ForSequenceClassification", "GPT2Model", None),
        ("bert", "BertForMaskedLM", "BertModel", None),
    ],
)
def test_the_language_head_stays_where_the_folder_has_one(
    tmp_path: Path, kind: str, saved: str, loaded: str, generative: str | None
) -> None:
    made = save(kind, saved, tmp_path)
    found = load(f"hf:{tmp_path}")
    assert (type(found.network).__name__, found.generative) == (loaded, generative)
    theirs = made.state_dict()
    prefix = "" if type(made) is type(found.network) else f"{made.base_model_prefix}."
    shared = {f"{prefix}{key}": tensor for key, tensor in found.network.state_dict().items()}
    assert shared.keys() & theirs.keys()
    assert all(torch.equal(theirs[key], tensor) for key, tensor in shared.items() if key in theirs)


@pytest.mark.parametrize(
    ("kind", "architectures", "expected"),
    [
        ("t5", None, "T5ForConditionalGeneration"),
        ("t5", ["T5WithLMHeadModel"], "T5ForConditionalGeneration"),  # in old files; no class of this name is left
        ("llama", None, "LlamaForCausalLM"),
        ("bert", None, "BertModel"),
        ("bert", ["BertLMHeadModel"], "BertLMHeadModel"),
    ],
)
def test_a_configuration_alone(tmp_path: Path, kind: str, architectures: list[str] | None, expected: str) -> None:
    settings = {
        **configuration(kind).to_dict(),
        "architectures": architectures,
        "is_decoder": expected == "BertLMHeadModel",
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert type(load(f"hf:{tmp_path}", device="meta").network).__name__ == expected


@pytest.mark.parametrize(
    ("kind", "body", "whole"),
    [
        ("t5", "T5Model", "T5ForConditionalGeneration"),
        ("gpt2", "GPT2Model", "GPT2LMHeadModel"),
    ],
)
@pytest.mark.parametrize("head", [True, False])
def test_a_file_of_weights_with_a_tied_head_or_none(
    tmp_path: Path, kind: str, body: str, whole: str, head: bool
) -> None:
    made = save(kind, whole if head else body, tmp_path / "saved")  # save_pretrained writes tied tensors once
    configuration(kind).save_pretrained(tmp_path / "config")
    found = load(f"hf:{tmp_path}/config", weights=tmp_path / "saved" / "model.safetensors").network
    prefix = "" if head else f"{made.base_model_prefix}."
    mine = found.state_dict()
    assert all(torch.equal(mine.get(f"{prefix}{key}", mine.get(key)), t) for key, t in made.state_dict().items())
    assert torch.equal(found.get_output_embeddings().weight, made.get_input_embeddings().weight)


def test_a_file_with_a_head_of_its_own_does_not_fit_a_tied_one(tmp_path: Path) -> None:
    state = {
        key: tensor.clone() for key, tensor in save("t5", "T5ForConditionalGeneration", tmp_path).state_dict().items()
    }
    state["lm_head.weight"] += 1
    safetensors.torch.save_file(state, tmp_path / "odd.safetensors")
    with pytest.raises(BackboneError, match=r"lm_head\.weight are one tensor in the network, and differ"):
        load(f"hf:{tmp_path}", weights=tmp_path / "odd.safetensors")


@pytest.mark.parametrize(
    ("kind", "name", "side"), [("t5", "T5ForConditionalGeneration", "right"), ("llama", "LlamaForCausalLM", "left")]
)
def test_the_tokenizer_is_made_when_asked_for(tmp_path: Path, kind: str, name: str, side: str) -> None:
    save(kind, name, tmp_path)
    asked = load(f"hf:{tmp_path}").tokenizer
    assert asked is not None
    with pytest.raises(BackboneError, match="tokenizer cannot be loaded"):
        asked()
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<end>": 0, "one": 1, "two": 2}, unk_token="<end>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>").save_pretrained(tmp_path)
    found = asked()(["one two", "two"], padding=True)["input_ids"]
    assert found == [[1, 2], [0, 2] if side == "left" else [2, 0]]


def test_a_model_of_images_has_no_tokenizer(tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        **{k: v for k, v in SMALL.items() if k != "vocab_size"}, image_size=16, patch_size=8
    )
    config.save_pretrained(tmp_path)
    assert load(f"hf:{tmp_path}", pretrained=False).tokenizer is None


def test_a_head_on_a_language_model(tmp_path: Path) -> None:
    configuration("llama").save_pretrained(tmp_path)
    found = load(f"hf:{tmp_path}", pretrained=False)
    model = MultiTask(found.network, HeadOnly(), features=found.features, num_features=found.num_features).eval()
    model.add_task("a", head=3)
    x = torch.randint(24, (2, 5))
    with pytest.raises(TypeError, match="output_hidden_states=True"):
        model(x, task="a")
    expected = model["a"].head(found.network.model(x).last_hidden_state[:, -1])  # type: ignore[misc]
    assert torch.equal(model(x, task="a", output_hidden_states=True), expected)


def test_a_head_on_an_encoder_decoder(tmp_path: Path) -> None:
    configuration("t5").save_pretrained(tmp_path)
    found = load(f"hf:{tmp_path}", pretrained=False)
    model = MultiTask(found.network, HeadOnly(), features=found.features, num_features=found.num_features).eval()
    model.add_task("a", head=3)
    x = torch.randint(24, (2, 5))
    expected = model["a"].head(found.network.get_encoder()(x).last_hidden_state.mean(1))  # type: ignore[misc]
    assert torch.equal(model(x, task="a", decoder_input_ids=x[:, :1]), expected)


def test_several_quantised_files_are_refused(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(BackboneError, match=r"a\.gguf, b\.gguf"):
        load(f"hf:{tmp_path}")
