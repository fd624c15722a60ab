from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from ...factors import check_whole
from ..colours import class_colours
from ._matching import SOLID

VEIL = 0.5  # weight of the colour over the image


def instance_picture(
    image: Tensor,
    boxes: Tensor,
    classes: Tensor,
    masks: Tensor | None = None,
    *,
    labels: Sequence[str] = (),
    scores: Tensor | None = None,
    score: float = 0.0,
    scale: int = 1,
) -> NDArray[np.uint8]:
    """Draw an image with its N objects: translucent masks and framed boxes, in the colours of their classes.

    Args:
        image: `[3, H, W]`, 0 to 1.
        boxes: `[N, 4]`: left, top, right, bottom, pixels.
        classes: `[N]`, from 1.
        masks: `[N, H, W]` or `[N, 1, H, W]`, boolean, bytes, or 0 to 1 (drawn from 0.5 on); None: no masks.
        labels: names to write, `labels[c − 1]` for class c; readable from a scale of 3 on.
        scores: `[N]`, 0 to 1, written too; the highest is drawn last. None: large objects are drawn first.
        score: the least score of drawn objects.
        scale: each pixel becomes scale × scale pixels.

    Returns:
        `[H · scale, W · scale, 3]`.

    Raises:
        ValueError: sizes disagree, or the scale is < 1.

    Example:
        >>> import torch
        >>> box, cup = torch.tensor([[1.0, 1.0, 4.0, 3.0]]), torch.tensor([1])
        >>> instance_picture(torch.zeros(3, 6, 8), box, cup, scale=2).shape
        (12, 16, 3)
    """
    count = len(boxes)
    if image.dim() != 3 or len(image) != 3:
        raise ValueError(f"image must be [3, H, W], found {list(image.shape)}")
    if len(classes) != count or any(part is not None and len(part) != count for part in (masks, scores)):
        raise ValueError(f"boxes, classes, masks and scores must be of as many objects; found {count} boxes")
    check_whole("scale", scale, 1)
    colours = class_colours()
    canvas = np.ascontiguousarray((image.detach().cpu().clamp(0, 1) * 255).round().permute(1, 2, 0).numpy())
    canvas = canvas.repeat(scale, 0).repeat(scale, 1)
    order = _order(boxes, scores, score)
    for row in order if masks is not None else ():
        solid = _solid(masks[row]).repeat(scale, 0).repeat(scale, 1)  # type: ignore[index]
        if solid.shape != canvas.shape[:2]:
            raise ValueError(f"masks must be of the image's size {list(image.shape[1:])}")
        canvas[solid] = (1 - VEIL) * canvas[solid] + VEIL * colours[_colour(classes, row)]
    drawn = Image.fromarray(canvas.round().astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    for row in order:
        left, top, right, bottom = (scale * float(edge) for edge in boxes[row])
        colour = tuple(int(part) for part in colours[_colour(classes, row)])
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour)
        words = [labels[int(classes[row]) - 1]] if labels else []
        words += [] if scores is None else [f"{float(scores[row]):.2f}"]
        if words and (labels or scores is not None):
            pen.text((left + 2, top + 1), " ".join(words), fill="white", stroke_width=1, stroke_fill=colour)
    return np.asarray(drawn)


def _order(boxes: Tensor, scores: Tensor | None, least: float) -> list[int]:
    if scores is not None:
        return [row for row in scores.argsort().tolist() if scores[row] >= least]
    return ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).argsort(descending=True).tolist()


def _solid(mask: Tensor) -> NDArray[np.bool_]:
    plain = mask.detach().cpu().reshape(mask.shape[-2:])
    return (plain >= SOLID if plain.is_floating_point() else plain > 0).numpy()


def _colour(classes: Tensor, row: int) -> int:
    return (int(classes[row]) - 1) % 255
