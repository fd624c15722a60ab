"""A torchvision detector in two: the body that tasks share, and the head that each task has of its own."""

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
    """What a body hands to heads.

    Attributes:
        features: by pyramid level, `[B, C, h, w]`.
        images: scaled, normalised and padded to one size.
        sizes: height and width of the images as they came.
        targets: scaled with them; None: not known.
        losses: whether losses are asked for, not detections.
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
    """MultiTask's `features` for a `DetectorBody`: all that it puts out."""
    return output


class DetectorBody(nn.Module):
    """The half that looks: scaling, convolutions, feature pyramid. It is the backbone of a `MultiTask`.

    Args:
        detector: a Faster R-CNN or Mask R-CNN of torchvision's; its parts are used, not copied.

    Raises:
        TypeError: another kind of network.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        whole = _checked(detector)
        self.transform, self.backbone = whole.transform, whole.backbone

    def forward(self, images: Sequence[Tensor], targets: Sequence[Target] | None = None, losses: bool = False) -> Seen:
        """Images `[3, H, W]`, 0 to 1, with their targets, if known.

        `losses`: heads are to give losses in evaluation mode, too.
        """
        _check_boxes(targets)
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        scaled, moved = self.transform(list(images), None if targets is None else list(targets))
        found = self.backbone(scaled.tensors)
        features = OrderedDict({"0": found} if isinstance(found, Tensor) else found)
        return Seen(features, scaled, sizes, moved, losses)


class DetectorHead(nn.Module):
    """The half that decides: region proposals, and what each region holds. It is the head of a task.

    Args:
        detector: whose half it is; copied, so that each task has its own.

    Raises:
        TypeError: another kind of network.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        whole = _checked(detector)
        self.transform: Any = copy.deepcopy(whole.transform)  # it undoes the scaling
        self.rpn, self.roi_heads = copy.deepcopy(whole.rpn), copy.deepcopy(whole.roi_heads)
        self.channels = int(whole.backbone.out_channels)  # type: ignore[arg-type]
        self.rpn.requires_grad_(True)
        self.roi_heads.requires_grad_(True)

    def forward(self, seen: Seen) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """In training: loss by name, `[B]` each. In evaluation: the detections of each image.

        Each image's losses are those that torchvision gives for this image alone. Detections are torchvision's:
        `boxes` `[N, 4]`, `labels` `[N]`, `scores` `[N]` and, with a mask head, `masks` `[N, 1, H, W]`, 0 to 1.

        Raises:
            ValueError: losses without targets, or features of another body.
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
        # Twins in training mode, over the same layers in the mode that they are in: these two alone ask for it.
        rpn, roi_heads = copy.copy(self.rpn), copy.copy(self.roi_heads)
        rpn.training = roi_heads.training = True
        proposals, first = rpn(one.images, one.features, one.targets)
        _, second = roi_heads(one.features, proposals, one.images.image_sizes, one.targets)
        return {**second, **first}

    def on(self, body: DetectorBody) -> GeneralizedRCNN:
        """Both halves as torchvision's detector again; nothing is copied.

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
