"""A torchvision detector in two halves: the body that tasks share, and a head for each task."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList

from ._batch import Target


@dataclass(frozen=True, eq=False)
class Seen:
    """A body's output for heads.

    Attributes:
        features: by pyramid level, `[B, C, h, w]`.
        images: scaled, normalised and padded to one size.
        sizes: the original height and width of the images.
        targets: the targets, scaled with the images; None: unknown.
        losses: whether heads return losses, not detections.
    """

    features: OrderedDict[str, Tensor]
    images: ImageList
    sizes: Sequence[tuple[int, int]]
    targets: list[Target] | None
    losses: bool

    def apart(self) -> Iterator[Seen]:
        """Each image by itself."""
        for row, (size, scaled) in enumerate(zip(self.sizes, self.images.image_sizes, strict=True)):
            yield Seen(
                OrderedDict((level, found[row : row + 1]) for level, found in self.features.items()),
                ImageList(self.images.tensors[row : row + 1], [scaled]),
                [size],
                None if self.targets is None else [self.targets[row]],
                self.losses,
            )


def seen(output: Any) -> Any:
    """MultiTask's `features` for a `DetectorBody`: its whole output."""
    return output


class DetectorBody(nn.Module):
    """The half with scaling, convolutions and feature pyramid. It is the backbone of a `MultiTask`.

    Args:
        detector: a Faster R-CNN or Mask R-CNN of torchvision's; its parts are used, not copied.

    Raises:
        TypeError: the network is of another kind.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        whole = _checked(detector)
        self.transform, self.backbone = whole.transform, whole.backbone

    def forward(self, images: Sequence[Tensor], targets: Sequence[Target] | None = None, losses: bool = False) -> Seen:
        """The features of images `[3, H, W]`, 0 to 1, with their targets, if known.

        `losses`: heads return losses in evaluation mode, too.
        """
        _check_boxes(targets)
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        scaled, moved = self.transform(list(images), None if targets is None else list(targets))
        found = self.backbone(scaled.tensors)
        features = OrderedDict({"0": found} if isinstance(found, Tensor) else found)
        return Seen(features, scaled, sizes, moved, losses)


class DetectorHead(nn.Module):
    """The half with region proposals and the predictions of regions. It is the head of a task.

    Args:
        detector: the detector; its half is copied, so that each task has its own.

    Raises:
        TypeError: the network is of another kind.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        whole = _checked(detector)
        self.transform: Any = copy.deepcopy(whole.transform)  # `transform` undoes the scaling
        self.rpn, self.roi_heads = copy.deepcopy(whole.rpn), copy.deepcopy(whole.roi_heads)
        self.channels = int(whole.backbone.out_channels)  # type: ignore[arg-type]
        self.rpn.requires_grad_(True)
        self.roi_heads.requires_grad_(True)

    def forward(self, seen: Seen) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses by name, `[B]` each, in training; the detections of each image in evaluation.

        An image's losses are torchvision's for this image alone. Detections are torchvision's:
        `boxes` `[N, 4]`, `labels` `[N]`, `scores` `[N]` and, with a mask head, `masks` `[N, 1, H, W]`, 0 to 1.

        Raises:
            ValueError: losses are wanted without targets, or features are of another body.
        """
        if (found := next(iter(seen.features.values())).shape[1]) != self.channels:
            raise ValueError(
                f"this head is for a body with {self.channels} channels, found {found}: halve detectors of one width"
            )
        if self.training or seen.losses:
            if seen.targets is None:
                raise ValueError("a detector in training needs targets: model(images, targets, task=…)")
            every = [self._losses(one) for one in seen.apart()]
            return {name: torch.stack([one[name] for one in every]) for name in every[0]}
        proposals, _ = self.rpn(seen.images, seen.features)
        detections, _ = self.roi_heads(seen.features, proposals, seen.images.image_sizes)
        return self.transform.postprocess(detections, seen.images.image_sizes, seen.sizes)

    def _losses(self, one: Seen) -> dict[str, Tensor]:
        # Copies in training mode, over the same layers in their own mode: only these two modules check the mode.
        rpn, roi_heads = copy.copy(self.rpn), copy.copy(self.roi_heads)
        rpn.training = roi_heads.training = True
        proposals, first = rpn(one.images, one.features, one.targets)
        _, second = roi_heads(one.features, proposals, one.images.image_sizes, one.targets)
        return {**second, **first}

    def on(self, body: DetectorBody) -> GeneralizedRCNN:
        """Both halves as torchvision's detector, without copies.

        Example:
            >>> from taskfold.dense.instances import detector
            >>> made = detector(2, width=8, size=32)
            >>> again = DetectorHead(made).on(DetectorBody(made))
            >>> made.state_dict().keys() == again.state_dict().keys()
            True
        """
        return GeneralizedRCNN(body.backbone, self.rpn, self.roi_heads, body.transform).train(self.training)


def _checked(detector: nn.Module) -> GeneralizedRCNN:
    if not isinstance(detector, GeneralizedRCNN):
        raise TypeError(
            f"detector must be a Faster R-CNN or Mask R-CNN of torchvision's, found {type(detector).__name__}; "
            "give other detectors to MultiTask whole, with tasks that have no head"
        )
    return detector


def _check_boxes(targets: Sequence[Target] | None) -> None:
    for number, target in enumerate(targets or ()):
        boxes = target["boxes"]
        if boxes.dim() != 2 or boxes.shape[1] != 4:
            raise ValueError(f"boxes of image {number} must be [N, 4], found {list(boxes.shape)}")
        if (flat := (boxes[:, 2:] <= boxes[:, :2]).any(1)).any():
            raise ValueError(
                f"boxes of image {number} must have an area, found {boxes[flat][0].tolist()}: leave such objects out"
            )
