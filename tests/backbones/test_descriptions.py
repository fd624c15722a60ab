"""Architectures known by name: no network, exact counts."""

from __future__ import annotations

import pytest
from torch import nn

from taskfold.backbones import BackboneError, LoadedBackbone, load
from taskfold.backbones._descriptions import DESCRIBED

pytest.importorskip("transformers")

# As published, or as other implementations of the same architecture count them.
PARAMETERS = {
    "t5-small": 60_506_624,
    "t5-base": 222_903_552,
    "t5-large": 737_668_096,
    "t5-3b": 2_851_598_336,
    "t5-11b": 11_307_321_344,
    "google/t5-v1_1-small": 76_961_152,
    "google/t5-v1_1-base": 247_577_856,
    "google/t5-large-lm-adapt": 783_150_080,
    "t5-xl": 2_849_757_184,
    "google/flan-t5-xxl": 11_135_332_352,
    "bert-base-uncased": 109_482_240,
    "google-bert/bert-large-uncased": 335_141_888,
    "bert-base-cased": 108_310_272,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
}


def described(name: str) -> LoadedBackbone:
    return load(f"hf:{name}", device="meta")


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_parameters_is_the_published_one(name: str) -> None:
    found = described(name).network
    assert sum(parameter.numel() for parameter in found.parameters()) == PARAMETERS[name]
    assert {parameter.device.type for parameter in found.parameters()} == {"meta"}


def test_every_description_has_its_number_checked() -> None:
    sizes = {name.rpartition("/")[2].lower() for name in PARAMETERS}
    same = {name for name in DESCRIBED if name.startswith(("t5-v1_1", "flan-t5", "t0", "t5-x")) or "lm-adapt" in name}
    assert set(DESCRIBED) - same <= sizes


def test_t5_xl_has_the_432_layers_that_the_paper_adapts() -> None:
    network = described("t5-xl").network
    linear = {path: layer for path, layer in network.named_modules() if isinstance(layer, nn.Linear)}
    head = linear.pop("lm_head")
    assert head is network.get_output_embeddings()
    assert len(linear) == 432
    assert {path.rpartition(".")[2] for path in linear} == {"q", "k", "v", "o", "wi_0", "wi_1", "wo"}
    assert sum(sum(layer.weight.shape) for layer in linear.values()) == 2_211_840  # LoRA of rank 1


@pytest.mark.parametrize(
    ("name", "generative", "width"),
    [("t5-small", "encoder-decoder", 512), ("gpt2", "causal", 768), ("bert-base-uncased", None, 768)],
)
def test_how_it_generates(name: str, generative: str | None, width: int) -> None:
    found = described(name)
    assert (found.generative, found.num_features) == (generative, width)
    assert (found.network.get_output_embeddings() is None) == (generative is None)
    assert found.tokenizer is not None


def test_random_weights_need_no_network() -> None:
    network = load("hf:t5-v1_1-small", pretrained=False).network
    assert network.lm_head.weight is not network.shared.weight
    assert network.lm_head.weight.std() > 0


def test_a_name_that_is_not_described_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network\nand more")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", offline)
    with pytest.raises(BackboneError, match=r"configuration cannot be fetched \(no network\).*flan-t5-small"):
        load("hf:flann-t5-small", device="meta")
    with pytest.raises(BackboneError, match="published weights cannot be fetched"):
        load("hf:t5-small")
