"""Scores of dense predictions, exact over batches and processes: torchmetrics metrics, one file per kind of task."""

from ._delta import delta_m
from ._depth import DepthScores
from ._edges import EdgeScores
from ._normals import NormalScores
from ._segmentation import SegmentationScores

__all__ = ["DepthScores", "EdgeScores", "NormalScores", "SegmentationScores", "delta_m"]
