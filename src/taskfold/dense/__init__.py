"""Dense tasks, with an output for every pixel: kinds, losses, scores, augmentation, and sources of data."""

try:
    from . import reading
    from ._augment import Augment, View
    from ._objective import DenseObjective
    from ._protocol import Protocol, nyud, nyuv2
    from ._sample import DenseBatch, DenseCollate, DenseSample
    from ._scores import DenseScores
    from ._set import DenseData, DenseSet, Entry
    from ._tensors import DenseTensors
    from ._together import DenseTogether
    from .kinds import KINDS, Depth, Edges, Kind, Normals, Segmentation
    from .metrics import delta_m
    from .networks import NETWORKS, Architecture, DeepLab, DenseNetwork, SegNet, build_network, dense_model
    from .sources import Aligned, CocoInstances, DenseSource, InstanceSample, NyudMt, NYUv2, parse_dense_source
except ModuleNotFoundError as error:
    if error.name not in {"PIL", "pydantic", "torchmetrics", "torchvision"}:
        raise
    raise ImportError(f'taskfold.dense needs {error.name}: pip install "taskfold[dense]"') from error

__all__ = [
    "KINDS",
    "NETWORKS",
    "Aligned",
    "Architecture",
    "Augment",
    "CocoInstances",
    "DeepLab",
    "DenseBatch",
    "DenseCollate",
    "DenseData",
    "DenseNetwork",
    "DenseObjective",
    "DenseSample",
    "DenseScores",
    "DenseSet",
    "DenseSource",
    "DenseTensors",
    "DenseTogether",
    "Depth",
    "Edges",
    "Entry",
    "InstanceSample",
    "Kind",
    "NYUv2",
    "Normals",
    "NyudMt",
    "Protocol",
    "SegNet",
    "Segmentation",
    "View",
    "build_network",
    "delta_m",
    "dense_model",
    "nyud",
    "nyuv2",
    "parse_dense_source",
    "reading",
]
