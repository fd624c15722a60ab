"""The classifier at the end of a backbone, in place of which a task's head is wanted."""

from __future__ import annotations

import re
from typing import NamedTuple

from torch import nn

from ._features import Features, feature_width, pooled

NAMES = ("classifier", "fc", "head", "head_dist", "heads", "score")
"""The names of classifiers in torchvision, timm and transformers."""


class Classifier(NamedTuple):
    """The last layer of a network.

    Attributes:
        path: the layer's name.
        layer: a linear layer, or a pointwise convolution.
        inputs: the number of features.
        outputs: the number of classes.
    """

    path: str
    layer: nn.Linear | nn.Conv2d
    inputs: int
    outputs: int


def classifier_of(network: nn.Module) -> Classifier | None:
    """The last layer of a network, if the network's last child with parameters has the name of a classifier.

    Example:
        >>> from collections import OrderedDict
        >>> net = nn.Sequential(OrderedDict(body=nn.Linear(4, 8), fc=nn.Linear(8, 1000)))
        >>> classifier_of(net)[::3], classifier_of(net.body)
        (('fc', 1000), None)
    """
    children = [name for name, child in network.named_children() if any(True for _ in child.parameters())]
    if not children or children[-1] not in NAMES:
        return None
    whole = network.get_submodule(children[-1]).named_modules(prefix=children[-1])
    for path, layer in reversed([*whole]):
        if isinstance(layer, nn.Linear):
            return Classifier(path, layer, layer.in_features, layer.out_features)
        if isinstance(layer, nn.Conv2d) and set(layer.kernel_size) == {1}:
            return Classifier(path, layer, layer.in_channels, layer.out_channels)
    return None


def head_width(network: nn.Module, head: object, said: int | None, features: Features = pooled) -> int:
    """The number of a linear head's inputs.

    Args:
        network: the backbone.
        head: the number of outputs, or a linear layer.
        said: the width of the backbone's output that the user states; None: the backbone's own statement.
        features: makes features from the backbone's output; a user's own function may apply a classifier.

    Raises:
        ValueError: the backbone does not state a width, or it still ends in its classifier.
    """
    found = classifier_of(network) if features is pooled else None
    try:
        width = head.in_features if isinstance(head, nn.Linear) else said or feature_width(network)
    except ValueError:
        if found is None:
            raise
        width = found.inputs
    else:
        if found is None or found.outputs == width:
            return width
    raise ValueError(
        f"{type(network).__name__} still ends in its classifier {found.path!r}, which returns {found.outputs} numbers, "
        f"and a head is to stand on {width} features; {_remedy(network, found)}"
    )


def _remedy(network: nn.Module, found: Classifier) -> str:
    if callable(getattr(network, "reset_classifier", None)):
        return "create the network with num_classes=0 (timm), or call net.reset_classifier(0)"
    if hasattr(network, "config"):
        without = "load the network without it (transformers.AutoModel)"
        return f"{without}, or leave the head out for a method that trains the classifier: FineTuning()"
    place = re.sub(r"\.(\d+)", r"[\1]", found.path)
    return f"take it away (net.{place} = torch.nn.Identity()) and give MultiTask num_features={found.inputs}"
