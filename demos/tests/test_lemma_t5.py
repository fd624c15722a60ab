"""The byte-level T5 that ships with the demonstrations."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import safetensors.torch
import torch

from taskfold.backbones import load
from taskfold_demos.lemma_t5 import FOLDER

transformers = pytest.importorskip("transformers")

TIED = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"}
# French, one of the languages it was made from; none of these lemmas is in the training part of the split.
WORDS = {"rudesses": "rudesse", "brevetables": "brevetable", "fébrilités": "fébrilité", "chuterais": "chuter"}


def network(**options: Any) -> Any:
    return load("packaged:lemma-t5", **options).network


def tokenizer() -> Any:
    made = load("packaged:lemma-t5", device="meta").tokenizer
    assert made is not None
    return made()


def test_the_weights_are_those_of_the_file_in_single_precision() -> None:
    found = load("packaged:lemma-t5")
    assert isinstance(found.network, transformers.T5ForConditionalGeneration)
    assert (found.name, found.num_features, found.features) == ("packaged:lemma-t5", None, None)
    assert found.generative == "encoder-decoder"
    file = safetensors.torch.load_file(FOLDER / "model.safetensors")
    ours = found.network.state_dict()
    assert ours.keys() - file.keys() == TIED
    assert {tensor.dtype for tensor in ours.values()} == {torch.float32}
    assert all(torch.equal(ours[name], tensor.float()) for name, tensor in file.items())
    assert all(torch.equal(ours[name], ours["shared.weight"]) for name in TIED)
    assert not found.network.training


def test_it_lemmatises_words_it_never_saw() -> None:
    ids = tokenizer()([f">{form}" for form in WORDS], return_tensors="pt", padding=True)
    with torch.inference_mode():
        made = network().generate(**ids, max_new_tokens=25, num_beams=1)
    found = tokenizer().batch_decode(made, skip_special_tokens=True)
    assert sum(lemma == WORDS[form] for form, lemma in zip(WORDS, found, strict=True)) >= 3


def test_texts_may_be_longer_than_those_it_was_made_from() -> None:
    made = network()
    ids = tokenizer()(["a" * 70], return_tensors="pt").input_ids
    as_published = copy.deepcopy(made)
    as_published.decoder.block[0].layer[0].SelfAttention.relative_attention_max_distance = 32
    with torch.inference_mode():
        assert made(input_ids=ids, decoder_input_ids=ids).logits.isfinite().all()
        short = {"input_ids": ids[:, :30], "decoder_input_ids": ids[:, :30]}
        assert torch.equal(made(**short).logits, as_published(**short).logits)
        with pytest.raises(IndexError):
            as_published(input_ids=ids, decoder_input_ids=ids)


def test_the_tokenizer_knows_bytes_and_nothing_else() -> None:
    assert tokenizer()("é").input_ids == [3 + byte for byte in "é".encode()] + [1]
    assert len(tokenizer()) == network(device="meta").config.vocab_size


def test_on_meta_and_untrained_no_weights_are_read() -> None:
    there, trained, random = network(device="meta"), network(), network(pretrained=False)
    assert {parameter.device.type for parameter in there.parameters()} == {"meta"}
    assert not torch.equal(trained.shared.weight, random.shared.weight)
    counts = [sum(parameter.numel() for parameter in one.parameters()) for one in (there, trained, random)]
    assert counts[0] == counts[1] == counts[2] < 1_600_000


def test_weights_of_its_own_kind_can_be_given() -> None:
    given, trained = network(weights=FOLDER / "model.safetensors").state_dict(), network().state_dict()
    assert all(torch.equal(given[name], tensor) for name, tensor in trained.items())


def test_what_ships_is_small_and_names_no_place() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir() if file.is_file()) < 6_000_000
    assert json.loads((FOLDER / "config.json").read_text())["dtype"] == "float32"
    assert "_name_or_path" not in (FOLDER / "config.json").read_text()
