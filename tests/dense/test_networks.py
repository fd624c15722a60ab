"""Both architectures against published counts and others' implementations, and their settings."""

from __future__ import annotations

import json
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn
from torchvision.models import vgg16_bn
from torchvision.models.vgg import make_layers

from taskfold.dense import NETWORKS, DeepLab, DenseNetwork, SegNet, build_network

SMALL: dict[str, dict[str, Any]] = {"segnet": {"width": 4, "stages": 3}, "deeplab": {"width": 8}}


def built(name: str, **settings: Any) -> DenseNetwork:
    torch.manual_seed(0)
    return build_network(name, {**SMALL[name], **settings})


def numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def randomised(module: nn.Module) -> nn.Module:
    """The module with normalisation that is not the identity."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)
    return module


# Every architecture


def test_every_architecture_is_tried_here() -> None:
    assert set(SMALL) == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(32, 48), (33, 47), (17, 80), (8, 9)])
def test_the_output_has_the_images_size(name: str, size: tuple[int, int]) -> None:
    network = built(name)
    output = network.head(5)(network.backbone(torch.randn(2, 3, *size)))
    assert output.shape == (2, 5, *size) and output.isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_has_gradient(name: str) -> None:
    network = built(name, **({"dropout": 0.0} if name == "deeplab" else {}))
    parts = nn.ModuleDict({"backbone": network.backbone, "head": network.head(2)})
    images = torch.randn(2, 3, 64, 64, requires_grad=True)
    parts["head"](parts["backbone"](images)).square().sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    # A bias before a BatchNorm moves nothing in exact arithmetic; it has to be reached all the same.
    idle = [key for key, p in parts.named_parameters() if p.grad is None or (p.ndim > 1 and not p.grad.any())]
    assert idle == []


@pytest.mark.parametrize("name", NETWORKS)
def test_the_seed_decides_the_network(name: str) -> None:
    def drawn(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        network = build_network(name, SMALL[name])
        return nn.ModuleDict({"backbone": network.backbone, "head": network.head(3)}).state_dict()

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first if key.startswith("backbone"))
    assert any(not torch.equal(first[key], other[key]) for key in first if key.startswith("head"))


@pytest.mark.parametrize("name", NETWORKS)
def test_settings_go_through_json(name: str) -> None:
    network = built(name)
    again = build_network(network.name, json.loads(json.dumps(network.settings)))
    assert again.settings == network.settings and network.settings.items() >= SMALL[name].items()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("segnett", {}, "'segnett' is not known; there is segnet, deeplab; did you mean 'segnet'"),
        ("segnet", {"widht": 8}, "no setting 'widht'; settings: width, stages; did you mean 'width'"),
        ("segnet", {"width": 0}, "width must be a whole number ≥ 1, found 0"),
        ("segnet", {"width": 8.0}, "width must be a whole number ≥ 1, found 8.0"),
        ("segnet", {"stages": 6}, "stages must be a whole number 1 to 5, found 6"),
        ("deeplab", {"encoder": "resnet19"}, "'resnet19' is not known.*did you mean 'resnet18'"),
        ("deeplab", {"encoder": "tu-resnet19"}, "'tu-resnet19' is not known.*did you mean 'tu-resnet18"),
        ("deeplab", {"encoder": "densenet121"}, "cannot be built with output_stride=16 .*choose another encoder"),
        ("deeplab", {"output_stride": 32}, "output_stride must be 8 or 16, found 32"),
        ("deeplab", {"rates": [6, 12]}, "rates must be three dilations"),
        ("deeplab", {"rates": [6, 12, 0]}, "rates must be a whole number ≥ 1, found 0"),
        ("deeplab", {"dropout": 1}, "dropout must be 0 ≤ dropout < 1, found 1"),
        ("deeplab", {"weights": "packaged"}, "encoder must be 'tu-tf_efficientnet_lite0', found 'resnet18'"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(name, settings)


def test_a_head_has_channels() -> None:
    with pytest.raises(ValueError, match="channels must be a whole number ≥ 1, found 0"):
        built("segnet").head(0)


# SegNet


def test_segnet_counts_what_is_published() -> None:
    with torch.device("meta"):
        network = SegNet().build()
        head, vgg = network.head(13), vgg16_bn().features
    assert numbers(network.backbone.get_submodule("encoder")) == numbers(vgg)
    # Backbone and one head of 13 classes: the single-task network of Liu et al., as their code counts it.
    assert numbers(network.backbone) + numbers(head) == 24_981_069


def test_segnets_encoder_is_vgg16() -> None:
    network = built("segnet", stages=5)
    plan: list[str | int] = [4, 4, "M", 8, 8, "M", 16, 16, 16, "M", 32, 32, 32, "M", 32, 32, 32, "M"]
    vgg = randomised(make_layers(plan, batch_norm=True)).eval()
    encoder = network.backbone.get_submodule("encoder").eval()
    encoder.load_state_dict(dict(zip(encoder.state_dict(), vgg.state_dict().values(), strict=True)))
    x = images = torch.randn(1, 3, 64, 96)
    for stage in encoder.children():
        x = nn.functional.max_pool2d(stage(x), 2)
    assert torch.equal(x, vgg(images))


def test_maxima_go_back_where_they_were() -> None:
    backbone = SegNet(width=3, stages=1).build().backbone.eval()
    for stage in ("encoder.0", "decoder.0"):
        for layer in backbone.get_submodule(stage).children():
            nn.init.dirac_(layer.get_submodule("conv").weight)  # type: ignore[arg-type]
            layer.get_submodule("norm").eps = 0.0  # type: ignore[assignment]
    images = torch.rand(1, 3, 5, 6) + 0.1
    blocks = images[..., :4, :].unflatten(3, (3, 2)).unflatten(2, (2, 2))
    kept = blocks * (blocks == blocks.amax((3, 5), keepdim=True))
    expected = torch.zeros(1, 3, 5, 6)
    expected[..., :4, :] = kept.flatten(2, 3).flatten(3, 4)
    assert torch.allclose(backbone(images), expected)


def test_images_smaller_than_the_pooling_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 × 8 pixels for 3 stages of pooling, found 7 × 20"):
        built("segnet").backbone(torch.rand(1, 3, 7, 20))


# DeepLabv3+


@pytest.mark.parametrize("stride", [8, 16])
def test_deeplab_is_the_librarys(stride: int) -> None:
    theirs = smp.DeepLabV3Plus(
        "resnet18",
        encoder_weights=None,
        encoder_output_stride=stride,  # type: ignore[arg-type]
        decoder_channels=8,
        decoder_atrous_rates=(6, 12, 18),
        classes=5,
    )
    network = built("deeplab", output_stride=stride)
    head = network.head(5)
    randomised(theirs)
    network.backbone.get_submodule("encoder").load_state_dict(theirs.encoder.state_dict())
    head.get_submodule("decoder").load_state_dict(theirs.decoder.state_dict())
    head.get_submodule("output").load_state_dict(theirs.segmentation_head.state_dict())
    images = torch.randn(2, 3, 48, 64)
    for mode in (True, False):
        outputs = []
        for whole in (theirs.train(mode), nn.Sequential(network.backbone, head).train(mode)):
            torch.manual_seed(0)  # of the dropout
            outputs.append(whole(images))
        assert torch.equal(*outputs)


def test_padding_is_zeros_and_is_cut_off() -> None:
    network = built("deeplab")
    whole = nn.Sequential(network.backbone, network.head(2)).eval()
    images = torch.zeros(1, 3, 48, 64)
    images[..., :41, :50] = torch.randn(1, 3, 41, 50)
    assert torch.equal(whole(images[..., :41, :50]), whole(images)[..., :41, :50])


def test_one_image_can_be_trained_on() -> None:
    network = built("deeplab")
    head = network.head(2)
    pooled = [part for part in head.modules() if isinstance(part, nn.AdaptiveAvgPool2d)]
    assert len(pooled) == 1
    output = head(network.backbone(torch.randn(1, 3, 32, 32)))
    output.sum().backward()
    assert output.isfinite().all() and all(p.grad is not None for p in head.parameters())


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "tu-resnet18"])
def test_other_encoders(encoder: str) -> None:
    network = DeepLab(encoder=encoder, width=4).build()
    features = network.backbone(torch.randn(1, 3, 40, 48))
    assert [map.shape[2] for map in features] == [40, 24, 12, 6, 3, 3]  # padded to 48 × 48
    assert network.head(2)(features).shape == (1, 2, 40, 48)
