"""Warnings about a new task: layers that its method does not reach, a classifier that stays untrained."""

from __future__ import annotations

import copy
import warnings
from typing import TypeVar

import torch
from torch import nn

from ..layers import GeometryError, NothingToAdaptError, fit
from ..methods import Method, build, names
from ..refusals import UnfitError
from ..tasks import Task, classifier_of
from ._summary import layers_in

E = TypeVar("E", bound=GeometryError | NothingToAdaptError)
_REACH = ("layers", "targets", "frozen_stages")
"""Settings of methods that select layers."""
SHARE = 0.5
"""The largest share of a backbone's weights out of a method's reach without a warning."""


class AdaptationWarning(UserWarning):
    """A task adapts less of the backbone than a user may expect."""


def check_backbone(backbone: nn.Module) -> None:
    """Checks that a backbone holds no adapters of another library, which tasks would adapt too.

    Raises:
        TypeError: it holds adapters of PEFT; names one.
    """
    for path, module in backbone.named_modules():
        if type(module).__module__.partition(".")[0] == "peft":
            raise UnfitError(
                f"backbone holds adapters of PEFT ({type(module).__name__} at {path or 'the top'!r}), and a task would "
                "adapt these too; give the plain network, peft_model.merge_and_unload(), or load it without PEFT and "
                "the adapter as a task (load_peft)"
            )


def with_methods(error: E, network: nn.Module) -> E:
    """The error with the names of methods that find layers in the network with default settings."""
    found = fitting(network)
    return type(error)(f"{error}; methods that fit here: {', '.join(found)}") if found else error


def fitting(network: nn.Module) -> list[str]:
    """The methods that find layers in a network with default settings, tried on a copy on meta."""
    bare = {id(t): t.to("meta") for t in network.buffers()}
    bare |= {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in network.parameters()}
    try:
        twin = copy.deepcopy(network, bare)
    except Exception:  # the network can't be copied
        return []
    return [name for name in names() if _fits(build(name), twin)]


def _fits(method: Method, network: nn.Module) -> bool:
    try:
        with torch.random.fork_rng([]), torch.no_grad():
            return bool(fit(method.compose(network), network, {}, method.name, method.frozen_stages))
    except Exception:  # a method that fails is not proposed
        return False


def advise(network: nn.Module, task: Task, method: Method, advised: set[tuple[str, ...]]) -> None:
    """Warns once for a method of layers that a new task leaves alone, probably without the user's intention.

    Args:
        advised: methods that were checked on this network; this one is added.

    Warns:
        AdaptationWarning: most of the backbone's weights are in layers of kinds that the method does not adapt, and its
            settings select no layers; or the backbone's own classifier seems to be untrained, and stays so.
    """
    alike = (method.name, str(task.head is None), *(repr(getattr(method, key, None)) for key in _REACH))
    if alike in advised:
        return
    advised.add(alike)
    layers = list(layers_in(network, task, method))
    weights: dict[str, int] = {}
    for layer in layers:
        if layer.family is not None:
            weights[layer.family] = weights.get(layer.family, 0) + layer.backbone
    reached = {layer.family for layer in layers if layer.adapted}
    asked = getattr(method, "layers", "auto") != "auto" or getattr(method, "targets", "*") != "*"
    if not asked and reached & {"linear layers", "convolutions", "recurrent layers"}:
        beyond = {family: size for family, size in weights.items() if family not in reached}
        if sum(beyond.values()) > SHARE * sum(weights.values()):
            _say_beyond(network, task, method, beyond, sum(beyond.values()) / sum(weights.values()))
    found = None if task.head is not None else classifier_of(network)
    adapted = {layer.path for layer in layers if layer.adapted}
    if found is None or any(f"{found.path}.".startswith(f"{path}.") for path in adapted if path):
        return
    if _untrained(found.layer, network):
        warnings.warn(
            f"task {task.name!r}: the backbone's own classifier {found.path!r} ({found.outputs} outputs) seems to be "
            f"newly initialised, and {method.name} leaves it as it is; give the task a head ({_headed(network)}), or "
            "choose a method that adapts it, such as FineTuning()",
            AdaptationWarning,
            stacklevel=4,
        )


def _say_beyond(network: nn.Module, task: Task, method: Method, beyond: dict[str, int], share: float) -> None:
    each = ", ".join(f"{family} ({size:,} parameters)" for family, size in beyond.items())
    warnings.warn(
        f"task {task.name!r}: {share:.0%} of the weights of {type(network).__name__} are in layers of kinds that "
        f"{method.name} does not adapt here: {each}; print(model.summary({task.name!r})) lists them. Choose a "
        "method or layers=… for these kinds, such as FineTuning()",
        AdaptationWarning,
        stacklevel=5,
    )


def _headed(network: nn.Module) -> str:
    return "on transformers.AutoModel" if hasattr(network, "config") else "on a backbone without its classifier"


def _untrained(layer: nn.Linear | nn.Conv2d, network: nn.Module) -> bool:
    """Whether a classifier looks newly initialised: a bias of zeros, or weights with the initialisation's deviation."""
    weight, bias = layer.weight.detach(), layer.bias
    if weight.is_meta or not weight.is_floating_point():
        return False
    if bias is not None:
        return not bool(bias.detach().any())
    width = getattr(getattr(network, "config", None), "initializer_range", None)
    if not isinstance(width, float) or not width:
        return False
    return bool(abs(weight.float().std() / width - 1) < 3 / (2 * weight.numel()) ** 0.5)
