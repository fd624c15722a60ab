"""Mean average precision of boxes and masks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from ...data import require
from ._matching import SOLID

NAMES = {"bbox": "box", "segm": "mask"}


class InstanceScores:
    """COCO's mean average precision, accumulated batch by batch; torchmetrics and pycocotools compute it.

    The AP of a class is the area under its curve of precision over recall (101 points), over the data set, with the
    100 highest detections of an image; `map` is its mean over occurring classes and over the IoU from 0.50 to 0.95
    in steps of 0.05, `map50` and `map75` at one IoU. `box_…` takes the IoU of boxes, `mask_…` that of masks (a
    detection's from 0.5 on). All are 0 to 1, and higher is better.

    Args:
        masks: whether masks are scored, too.

    Raises:
        MissingExtraError: pycocotools is not installed.
    """

    def __init__(self, masks: bool = True) -> None:
        require("pycocotools.mask", '"taskfold[dense]"')
        self._kinds = ("bbox", "segm") if masks else ("bbox",)
        self._metric = MeanAveragePrecision(iou_type=self._kinds, backend="pycocotools")
        self._metric.warn_on_many_detections = False

    def update(self, found: Sequence[Mapping[str, Tensor]], targets: Sequence[Mapping[str, Tensor]]) -> None:
        """Add a torchvision detector's detections and the targets, one of each per image.

        Raises:
            ValueError: their numbers differ, masks are wanted and missing, or scores are not finite.
        """
        if len(found) != len(targets):
            raise ValueError(f"found and targets must be one per image, found {len(found)} and {len(targets)}")
        if "segm" in self._kinds and any("masks" not in one for one in (*found, *targets)):
            raise ValueError("masks are to be scored, and not all have them: give them, or InstanceScores(masks=False)")
        if any(not one["scores"].isfinite().all() for one in found):
            raise ValueError("scores hold NaN or infinite numbers: the network has diverged")
        with _quiet():
            self._metric.update([self._plain(one) for one in found], [self._plain(one) for one in targets])

    def result(self) -> dict[str, float]:
        """`box_map`, `box_map50`, `box_map75`, and `mask_…` alike; over all processes.

        Raises:
            ValueError: there was no image, or none with an object.
        """
        if not self._metric.update_called:
            raise ValueError("nothing was counted; a data set must hold at least one image")
        with _quiet():
            made = self._metric.compute()
        several = len(self._kinds) > 1
        found = {
            f"{NAMES[kind]}_{ours}": float(made[f"{kind}_{theirs}" if several else theirs])
            for kind in self._kinds
            for ours, theirs in (("map", "map"), ("map50", "map_50"), ("map75", "map_75"))
        }
        if found["box_map"] < 0:  # −1 stands for undefined
            raise ValueError("no image has an object, so that precision is undefined; a data set must hold some")
        return found

    def _plain(self, one: Mapping[str, Tensor]) -> dict[str, Tensor]:
        kept = {key: one[key].detach().cpu() for key in ("boxes", "labels", "scores") if key in one}
        if "segm" not in self._kinds:
            return kept
        masks = one["masks"].detach().cpu()
        if masks.dim() == 4:  # a detector's masks
            masks = masks.squeeze(1)
        return {**kept, "masks": masks >= SOLID if masks.is_floating_point() else masks > 0}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences warnings of pycocotools 2.0.11, which is behind NumPy 2."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
