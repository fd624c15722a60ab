from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from taskfold.data import Preprocessing

WIDE = Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (32, 1))).convert("RGB")


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("crop", ["none", "random-resized", "pad"])
@pytest.mark.parametrize("resize", ["squash", "shorter-side+crop"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_every_choice_gives_the_size_and_type(train: bool, crop: Any, resize: Any, interpolation: Any) -> None:
    chosen = Preprocessing(size=24, crop=crop, resize=resize, interpolation=interpolation, flip=True)
    pixels = chosen.transform(train)(WIDE)
    assert pixels.shape == (3, 24, 24)
    assert pixels.dtype == torch.float32


def test_values_are_normalised() -> None:
    grey = Image.new("RGB", (8, 8), (127, 127, 127))
    pixels = Preprocessing(size=8, mean=(127 / 255, 127 / 255, 127 / 255), std=(0.5, 0.25, 1)).transform(False)(grey)
    assert pixels.abs().max() < 1e-6
    white = Preprocessing(size=8, mean=(0.5, 0.5, 0), std=(0.5, 0.25, 1)).transform(False)(
        Image.new("RGB", (8, 8), "white")
    )
    assert white[:, 0, 0].tolist() == [1, 2, 1]


def test_squashing_shows_all_and_cropping_the_centre() -> None:
    plain = Preprocessing(size=32, mean=(0, 0, 0), std=(1, 1, 1))
    squashed, cropped = (plain.changed(resize=how).transform(False)(WIDE) for how in ("squash", "shorter-side+crop"))
    assert squashed[0, 0, -1] > 0.97
    assert cropped[0, 0, 0] == pytest.approx(16 / 63, abs=0.01)
    assert cropped[0, 0, -1] == pytest.approx(47 / 63, abs=0.01)
    closer = plain.changed(size=28, resize="shorter-side+crop", crop_fraction=0.875).transform(False)(WIDE)
    assert closer[0, 0, 0] == pytest.approx(18 / 63, abs=0.01)


def test_testing_is_never_augmented() -> None:
    transform = Preprocessing(size=16, flip=True, crop="random-resized").transform(train=False)
    assert transform.vary is None
    assert torch.equal(transform(WIDE), transform(WIDE))


@pytest.mark.parametrize("augment", ["default", "randaugment", "trivialaugment", "autoaugment"])
def test_augmentation_by_name_is_drawn_anew_and_of_training_alone(augment: Any) -> None:
    chosen = Preprocessing(size=24, augment=augment)
    assert chosen.varies
    assert not Preprocessing(size=24).varies
    transform = chosen.transform(train=True)
    torch.manual_seed(0)
    several = torch.stack([transform(WIDE) for _ in range(8)])
    assert several.shape == (8, 3, 24, 24)
    assert len(several.flatten(1).unique(dim=0)) > 1
    torch.manual_seed(0)
    assert torch.equal(transform(WIDE), several[0])
    assert torch.equal(chosen.transform(train=False)(WIDE), Preprocessing(size=24).transform(train=False)(WIDE))


def test_flips_happen_half_of_the_time() -> None:
    transform = Preprocessing(size=16, flip=True).transform(train=True)
    torch.manual_seed(0)
    mirrored = [bool(pixels[0, 0, 0] > pixels[0, 0, -1]) for pixels in (transform(WIDE) for _ in range(100))]
    assert 30 < sum(mirrored) < 70


def test_padding_continues_the_background() -> None:
    white = Preprocessing(size=16, crop="pad", mean=(0, 0, 0), std=(1, 1, 1)).transform(train=True)
    assert (white(Image.new("RGB", (8, 8), "white")) == 1).all()


def test_it_travels_as_json() -> None:
    chosen = Preprocessing(size=96, flip=True, mean=(0.1, 0.2, 0.3), interpolation="bicubic")
    text = json.dumps(chosen.model_dump(mode="json"))
    assert Preprocessing.model_validate(json.loads(text)) == chosen


def test_a_timm_backbone_says_what_it_expects() -> None:
    timm = pytest.importorskip("timm")
    config = timm.create_model("tf_efficientnet_lite0", num_classes=0).pretrained_cfg
    found = Preprocessing.from_config(config, size=64)
    assert (found.size, found.interpolation, found.mean) == (64, "bicubic", (0.5, 0.5, 0.5))
    assert Preprocessing.from_config(config).size == 224


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size"),
        ({"resize": "stretch"}, "shorter-side"),
        ({"std": (1, 1, 0)}, "std"),
        ({"mean": (0.5,)}, "mean"),
        ({"crop": "random"}, "random-resized"),
        ({"colour": True}, "colour"),
        ({"crop_fraction": 1.5}, "crop_fraction"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing().changed(**settings)


def test_a_grey_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match="input_size: pictures have 3 channels, the backbone expects 1"):
        Preprocessing.from_config({"input_size": (1, 28, 28)})
