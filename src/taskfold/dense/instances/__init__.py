"""Instance segmentation with torchvision's detectors: networks, data, losses, scores and pictures."""

from ._batch import InstanceBatch
from ._detector import detector
from ._halves import DetectorBody, DetectorHead, Seen, seen
from ._matching import f_score
from ._objective import InstanceObjective
from ._picture import instance_picture
from ._scores import InstanceScores

__all__ = [
    "DetectorBody",
    "DetectorHead",
    "InstanceBatch",
    "InstanceObjective",
    "InstanceScores",
    "Seen",
    "detector",
    "f_score",
    "instance_picture",
    "seen",
]
