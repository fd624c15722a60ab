"""Random views of an image and its targets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as colours

from ._sample import DenseSample
from .kinds import Kind
from .resize import Size, resize_image, resize_target

IMAGENET_MEAN = (0.485, 0.456, 0.406)


@dataclass(frozen=True)
class View:
    """The random numbers of one image's view.

    Attributes:
        size: height and width that the image is scaled to, pixels.
        crop: height and width of the crop from it.
        top, left: the crop's beginning in the scaled image; negative: so many pixels are padded before it.
        flip: mirrored left to right, after the crop.
        brightness, contrast, saturation: factors.
        hue: the turn of the colour circle, -0.5 to 0.5.
    """

    size: Size
    crop: Size
    top: int = 0
    left: int = 0
    flip: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


@dataclass(frozen=True)
class Augment:
    """Random scale, crop, flip and colours; images keep the size of the crop.

    - The image is scaled bilinearly (antialiased), targets by the nearest pixel: invalid values are never mixed into
      valid ones, and no depth or class is invented. Depth is divided by the scale, normals turn with it
      (`Normals.stretch`).
    - A scaled image smaller than the crop is padded: targets with invalid values, the image with
      `fill`.
    - Mirrored normals have their x negated.
    - Colours change in the image alone.

    Args:
        scale: the lowest and highest factor, drawn uniformly.
        crop: height and width, pixels; None: the image's own.
        flip: the share of mirrored images.
        brightness, contrast, saturation: factors are drawn from 1 ± this, 0 to 1; 0: no change.
        hue: drawn from ± this, 0 to 0.5.
        fill: the colour of padding, 0 to 1; ImageNet's mean, which normalisation makes 0.

    Raises:
        ValueError: a value is outside its range.

    Example:
        >>> view = Augment(scale=(0.5, 2), crop=(32, 32)).draw((64, 80), torch.Generator().manual_seed(0))
        >>> view.crop, 32 <= view.size[0] <= 128
        ((32, 32), True)
    """

    scale: tuple[float, float] = (1.0, 1.0)
    crop: Size | None = None
    flip: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    fill: tuple[float, float, float] = IMAGENET_MEAN

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0.05 <= low <= high <= 20:
            raise ValueError(f"scale must be two factors, low first, 0.05 to 20, found {self.scale}")
        if self.crop is not None and min(self.crop) < 1:
            raise ValueError(f"crop must be height and width of at least 1 pixel, found {self.crop}")
        for name, most in (("flip", 1), ("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0.5)):
            if not 0 <= (value := getattr(self, name)) <= most:
                raise ValueError(f"{name} must be 0 to {most}, found {value}")
        if not all(0 <= part <= 1 for part in self.fill):
            raise ValueError(f"fill must be red, green and blue, 0 to 1 each, found {self.fill}")

    def draw(self, size: Size, generator: Generator) -> View:
        """A random view of an image of that size. The number of draws does not depend on the settings."""
        numbers = torch.rand(8, generator=generator, dtype=torch.float64).tolist()
        low, high = self.scale
        factor = low + (high - low) * numbers[0]
        scaled = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
        crop = self.crop or size
        return View(
            scaled,
            crop,
            _offset(scaled[0], crop[0], numbers[1]),
            _offset(scaled[1], crop[1], numbers[2]),
            numbers[3] < self.flip,
            1 + self.brightness * (2 * numbers[4] - 1),
            1 + self.contrast * (2 * numbers[5] - 1),
            1 + self.saturation * (2 * numbers[6] - 1),
            self.hue * (2 * numbers[7] - 1),
        )

    def apply(self, sample: DenseSample, view: View, kinds: Mapping[str, Kind]) -> DenseSample:
        """The sample in that view.

        Args:
            sample: not normalised.
            view: from `draw`, with the sample's size.
            kinds: the kinds of its targets, by task.
        """
        image = resize_image(sample.image, view.size)
        image = _jittered(cut(image, view, torch.tensor(self.fill)), view)
        # Both sides are rounded to whole pixels, so that two factors differ.
        factor = math.sqrt(math.prod(view.size) / math.prod(sample.size))
        targets = {}
        for task, target in sample.targets.items():
            kind = kinds[task]
            scaled = kind.scaled(resize_target(target, view.size), factor) if view.size != sample.size else target
            seen = cut(scaled, view, torch.full((kind.target_channels,), kind.invalid))
            targets[task] = kind.flipped(seen) if view.flip else seen
        return DenseSample(image.flip(-1) if view.flip else image, targets, sample.name)


def cut(values: Tensor, view: View, fill: Tensor) -> Tensor:
    """The crop of a view from `[C, H, W]`, with `fill` `[C]` beyond its edges."""
    height, width = values.shape[1:]
    out = fill.to(values.dtype)[:, None, None].repeat(1, *view.crop)
    top, left = max(view.top, 0), max(view.left, 0)
    bottom, right = min(view.top + view.crop[0], height), min(view.left + view.crop[1], width)
    down, across = top - view.top, left - view.left
    out[:, down : down + bottom - top, across : across + right - left] = values[:, top:bottom, left:right]
    return out


def _offset(have: int, want: int, number: float) -> int:
    """A random beginning of a crop that wastes no pixels."""
    spare = have - want
    return min(spare, 0) + min(int(number * (abs(spare) + 1)), abs(spare))


def _jittered(image: Tensor, view: View) -> Tensor:
    if view.brightness != 1:
        image = colours.adjust_brightness(image, view.brightness)
    if view.contrast != 1:
        image = colours.adjust_contrast(image, view.contrast)
    if view.saturation != 1:
        image = colours.adjust_saturation(image, view.saturation)
    return colours.adjust_hue(image, view.hue) if view.hue else image
