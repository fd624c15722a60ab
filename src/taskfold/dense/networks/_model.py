"""A model for a network and a protocol, with a task for each kind."""

from __future__ import annotations

from typing import Any

from ...methods import Method
from ...model import MultiTask
from .._protocol import Protocol
from ._base import DenseNetwork


def dense_model(network: DenseNetwork, protocol: Protocol, method: Method) -> MultiTask:
    """A model on the network's backbone, with a task and a head for each task of the protocol.

    Args:
        network: its backbone becomes the model's, and is frozen; another model needs another network.
        protocol: has the tasks, and the channels of their heads.
        method: how every task adapts the backbone.

    Raises:
        ValueError: the method finds nothing to adapt here.

    Example:
        >>> import taskfold as tfold
        >>> from taskfold.dense import build_network, nyuv2
        >>> network = build_network("segnet", {"width": 4, "stages": 2})
        >>> model = dense_model(network, nyuv2(classes=13), tfold.FTN(rank=2))
        >>> list(model.tasks)
        ['segmentation', 'depth', 'normals']
    """
    model = MultiTask(network.backbone, method, features=unchanged)
    for task, channels in protocol.channels.items():
        model.add_task(task, network.head(channels))
    return model


def unchanged(output: Any) -> Any:
    """The features of a dense head: the backbone's whole output. A named function can be copied and pickled."""
    return output
