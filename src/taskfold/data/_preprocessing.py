"""Preprocessing from a picture to the tensor that a backbone expects; task files hold it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor

from ._errors import require

Triple = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]
Fixed = Callable[[Image.Image], Tensor]
Vary = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Transform:
    """From a picture to float `[3, size, size]`, in three stages, of which only `vary` draws random numbers.

    Attributes:
        fix: picture → uint8 `[3, H, W]`, deterministic, so that results can be cached.
        vary: random crop, flip and augmentation, or None.
        finish: uint8 → normalised float.
    """

    fix: Fixed
    vary: Vary | None
    finish: Vary

    def __call__(self, image: Image.Image) -> Tensor:
        pixels = self.fix(image)
        return self.finish(self.vary(pixels) if self.vary else pixels)


class Preprocessing(BaseModel):
    """Size, normalisation and training-time augmentation.

    Attributes:
        size: height and width of the tensor, pixels.
        resize: `squash` to size × size, or `shorter-side+crop`: keep the shape, cut out the centre.
        crop_fraction: `shorter-side+crop` makes the shorter side size / crop_fraction (0.875: 256 for 224).
        interpolation: the interpolation of every resize, always antialiased.
        mean, std: the normalisation per channel, of values in [0, 1].
        flip: mirror half of the training images.
        crop: the crop of training images: `none`; `random-resized` in place of the resize, 8 to 100 % of the area
            (Szegedy et al., 2015); `pad` by an eighth on each side, then cut back at random.
        augment: the augmentation of training images, after crop and flip: `none`; `default`, which crops 35 to 100 %
            of the area at random unless `crop` is set, mirrors half of the images, and changes brightness, contrast and
            saturation by up to a fifth; or a policy of torchvision's: `randaugment` (Cubuk et al., 2020),
            `trivialaugment` (Müller and Hutter, 2021), `autoaugment` (of ImageNet; Cubuk et al., 2019).

    Example:
        >>> Preprocessing(size=64).transform(train=False)(Image.new("L", (28, 28)).convert("RGB")).shape
        torch.Size([3, 64, 64])
        >>> Preprocessing.model_validate_json(Preprocessing(size=64).model_dump_json()).size
        64
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: PositiveInt = Field(224, le=16_384)
    resize: Literal["squash", "shorter-side+crop"] = "squash"
    crop_fraction: float = Field(default=1.0, gt=0, le=1)
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    mean: Triple = (0.485, 0.456, 0.406)
    std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)
    flip: bool = False
    crop: Literal["none", "random-resized", "pad"] = "none"
    augment: Literal["none", "default", "randaugment", "trivialaugment", "autoaugment"] = "none"

    @property
    def varies(self) -> bool:
        """Whether training images differ from epoch to epoch."""
        return self.flip or self.crop != "none" or self.augment != "none"

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **settings: Any) -> Self:
        """The preprocessing of a timm backbone's training (`net.pretrained_cfg`): size, mean, std, interpolation.

        Args:
            config: missing keys have their defaults; other keys are not used.
            settings: attributes that replace the config's.

        Raises:
            ValueError: the backbone's input does not have three channels, or a value is not allowed.

        Example:
            >>> Preprocessing.from_config({"input_size": (3, 160, 160), "std": (0.5, 0.5, 0.5)}).size
            160
        """
        found: dict[str, Any] = {key: config[key] for key in ("mean", "std", "interpolation") if config.get(key)}
        if size := config.get("input_size"):
            channels, found["size"] = size[0], size[-1]
            if channels != 3:
                raise ValueError(f"input_size: pictures have 3 channels, the backbone expects {channels}")
        return cls(**{**found, **settings})

    def changed(self, **settings: Any) -> Self:
        """A copy with some attributes changed, checked like a new one.

        Example:
            >>> Preprocessing().changed(flip=True).flip
            True
        """
        return type(self).model_validate({**self.model_dump(), **settings})

    def transform(self, train: bool) -> Transform:
        """The function from a picture to float `[3, size, size]`; augmented if `train`.

        Raises:
            MissingExtraError: torchvision is not installed.
        """
        t = require("torchvision.transforms.v2", '"taskfold[vision]"')
        how = t.InterpolationMode(self.interpolation)
        whole = (self.size, self.size)

        usual = train and self.augment == "default"
        resized = train and (self.crop == "random-resized" or (usual and self.crop == "none"))
        fix: list[Any] = []
        if resized:
            pass  # a random crop takes the whole picture
        elif self.resize == "squash":
            fix = [t.Resize(whole, how)]
        else:
            fix = [t.Resize(round(self.size / self.crop_fraction), how), t.CenterCrop(whole)]

        vary: list[Any] = []
        if resized:
            least = 0.08 if self.crop == "random-resized" else 0.35
            vary = [t.RandomResizedCrop(whole, scale=(least, 1.0), interpolation=how)]
        elif train and self.crop == "pad":
            # Edge pixels continue any background, black or white.
            vary = [t.RandomCrop(whole, padding=max(1, self.size // 8), padding_mode="edge")]
        if train and (self.flip or usual):
            vary.append(t.RandomHorizontalFlip())
        policies = {
            "default": lambda: t.ColorJitter(0.2, 0.2, 0.2),
            "randaugment": t.RandAugment,
            "trivialaugment": t.TrivialAugmentWide,
            "autoaugment": t.AutoAugment,
        }
        if train and self.augment in policies:
            vary.append(policies[self.augment]())

        finish = [t.ToDtype(torch.float32, scale=True), t.Normalize(self.mean, self.std)]
        return Transform(t.Compose([*fix, t.PILToTensor()]), t.Compose(vary) if vary else None, t.Compose(finish))
