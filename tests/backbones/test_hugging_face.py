"""Folders of Hugging Face, offline."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from taskfold import HeadOnly, LoRA, MultiTask, count
from taskfold.backbones import BackboneError, load
from taskfold.backbones._pooling import first_token

transformers = pytest.importorskip("transformers")
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def config() -> object:
    return transformers.ViTConfig(**SMALL, image_size=16, patch_size=8)


def test_a_folder_with_a_configuration_counts(tmp_path: Path, config: object) -> None:
    config.save_pretrained(tmp_path)  # type: ignore[attr-defined]
    found = load(f"hf:{tmp_path}", device="meta")
    assert count(found.network, LoRA(rank=2), head=3).per_task == {"factors": 2 * 2 * (16 + 16), "norm": 0, "head": 51}


def test_a_folder_with_weights(tmp_path: Path, config: object) -> None:
    network = transformers.AutoModel.from_config(config)
    network.save_pretrained(tmp_path / "vit")
    found = load("hf:vit", base=tmp_path)
    assert found.num_features == 16
    assert found.preprocessing == {"input_size": (3, 16, 16)}
    x = torch.randn(2, 3, 16, 16)
    assert found.features is not None
    with torch.no_grad():
        expected = network.eval()(x).pooler_output
        assert torch.equal(found.features(found.network(x)), expected)


def test_a_pooler_that_was_never_trained_is_not_used(tmp_path: Path, config: object) -> None:
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    found = load(f"hf:{tmp_path}")
    output = found.network(torch.randn(2, 3, 16, 16))
    assert found.features is not None
    assert torch.equal(found.features(output), output.last_hidden_state[:, 0])


def test_features_of_a_convolutional_model_are_flat(tmp_path: Path) -> None:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    found = load(f"hf:{tmp_path}")
    model = MultiTask(found.network, HeadOnly(), features=found.features, num_features=found.num_features)
    model.add_task("a", head=3)
    assert model(torch.randn(2, 3, 32, 32), task="a").shape == (2, 3)


def test_what_the_image_processor_says(tmp_path: Path, config: object) -> None:
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "resample": 3, "size": {"height": 16}}'
    )
    assert load(f"hf:{tmp_path}").preprocessing == {
        "input_size": (3, 16, 16),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "interpolation": "bicubic",
    }


@pytest.mark.parametrize("head", [True, False])
def test_a_local_file_fits_with_or_without_its_head(tmp_path: Path, config: object, head: bool) -> None:
    whole = transformers.ViTForImageClassification(config)
    config.save_pretrained(tmp_path)  # type: ignore[attr-defined]
    torch.save((whole if head else whole.vit).state_dict(), tmp_path / "weights.pth")
    found = load(f"hf:{tmp_path}", weights=tmp_path / "weights.pth")
    theirs = whole.vit.state_dict()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in found.network.state_dict().items() if key in theirs)
    assert found.features is first_token  # the file has no pooler


def test_a_folder_without_weights_is_refused(tmp_path: Path, config: object) -> None:
    config.save_pretrained(tmp_path)  # type: ignore[attr-defined]
    with pytest.raises(BackboneError, match="cannot be fetched"):
        load(f"hf:{tmp_path}")
    assert load(f"hf:{tmp_path}", pretrained=False).num_features == 16
