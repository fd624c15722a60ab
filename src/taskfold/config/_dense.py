"""The preprocessing of images and dense targets, as a configuration describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

if TYPE_CHECKING:
    from ..dense import Augment

Size = tuple[PositiveInt, PositiveInt]
Positive = Annotated[float, Field(gt=0)]


class AugmentSettings(BaseModel):
    """`taskfold.dense.Augment`, whose ranges these are.

    Attributes:
        scale: lowest and highest factor of a random resize, before the crop.
        crop: height and width of a random crop, pixels; None: the whole image.
        flip: probability of a mirrored view.
        brightness, contrast, saturation, hue: the range of the change, as for torchvision's ColorJitter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: tuple[float, float] = (1.0, 1.0)
    crop: Size | None = None
    flip: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        self.build()
        return self

    @property
    def still(self) -> AugmentSettings | None:
        """The settings without random changes, but with images of one size, which batches need."""
        return None if self.crop is None else AugmentSettings(crop=self.crop, flip=0)

    def build(self) -> Augment:
        """The augmentation.

        Raises:
            ValueError: a value outside its range.
        """
        from ..dense import Augment  # noqa: PLC0415  an extra, and seconds to import

        return Augment(**dict(self))


class DenseSettings(BaseModel):
    """The preprocessing of images for dense prediction, in training and in use.

    Attributes:
        size: height and width that images and targets are resized to, pixels; None: their own.
        augment: random views in training; None: none. An empty mapping mirrors half of the images.
        mean, std: the normalisation per channel, of values in [0, 1]; None: those of the network's training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Size | None = None
    augment: AugmentSettings | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[Positive, Positive, Positive] | None = None
