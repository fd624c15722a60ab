"""Folds: copies of a backbone with a task's tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..interventions import Intervention
from ..kinds import kind_of
from ..layers import SERVING, check_alike, check_once, forms_of, layers_of, stack_of
from ..tasks import Task
from ._copying import copied


def changed_tensors(backbone: nn.Module, task: Task) -> dict[str, Tensor]:
    """The backbone's tensors that a task changes, in evaluation, by name, with gradient.

    Raises:
        ValueError: an intervention at a layer does not change tensors, the layer has several places, or it no longer
            fits its form.
    """
    check_alike(backbone, forms_of(task))
    check_once(backbone, task.sites)
    changed: dict[str, Tensor] = {}
    for path, parts in layers_of(task):
        kind = kind_of(backbone.get_submodule(path))
        tensors: dict[str, Tensor] = {}
        try:
            for intervention, mine in stack_of(parts, kind, SERVING):
                tensors |= intervention.folded(kind, mine, {**kind.tensors(), **tensors})
        except ValueError as error:
            raise ValueError(f"layer {path!r}: {error}") from None
        changed |= {f"{path}.{key}" if path else key: tensor for key, tensor in tensors.items()}
    return changed


def left_out(backbone: nn.Module, task: Task) -> dict[str, str]:
    """Layers that a task replaces in evaluation, by path: the child that runs instead; `""`: an identity."""
    found: dict[str, str] = {}
    for path, parts in layers_of(task):
        if any(type(part.intervention).instead is not Intervention.instead for _, part in parts):
            kind = kind_of(backbone.get_submodule(path))
            for intervention, tensors in stack_of(parts, kind, SERVING):
                child = intervention.instead(kind, tensors)
                found |= {} if child is None else {path: child}
    return found


def leave_out(network: nn.Module, layers: Mapping[str, str]) -> None:
    """Replaces layers by the named child, or by an identity (`""`)."""
    for path, child in layers.items():
        network.set_submodule(path, network.get_submodule(f"{path}.{child}") if child else nn.Identity())


@torch.no_grad()
def folded(backbone: nn.Module, changes: Mapping[str, Tensor], begun: Mapping[str, Mapping[str, Any]]) -> nn.Module:
    """A copy of the backbone with the tensors in `changes`, by name, and with empty caches (`begun`).

    Layers with a shared tensor get separate ones if the task makes them differ. Tensors that the backbone lacks (a
    bias, say) are added.
    """
    plain = copied(backbone, begun)
    tensors = {**dict(plain.named_parameters(remove_duplicate=False)), **dict(plain.named_buffers())}
    places: dict[int, list[str]] = {}
    for key, tensor in tensors.items():
        places.setdefault(id(tensor), []).append(key)
    for key, tensor in changes.items():
        tied = places.get(id(tensors[key]), []) if key in tensors else []
        if tied and all(other in changes and torch.equal(changes[other], tensor) for other in tied):
            tensors[key].copy_(tensor)
        else:
            _place(plain, key, tensor)
    return plain


class _Tracer(fx.Tracer):
    """Traces modules with tensors of their own as one call."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return bool(m._parameters or m._buffers) or super().is_leaf_module(m, module_qualified_name)


@torch.no_grad()
def without_batchnorm(network: nn.Module) -> None:
    """Fuses every BatchNorm behind a convolution into it, and leaves an identity or the BatchNorm's activation.

    Raises:
        ValueError: the order of the network's layers can't be traced, or no BatchNorm follows a convolution.
    """
    try:
        graph = _Tracer().trace(network)
    except Exception as error:
        raise ValueError(
            f"fuse_batchnorm=True has to follow the order of layers, which {type(network).__name__} decides while it "
            f"runs ({error}); leave it out"
        ) from error
    called = Counter(node.target for node in graph.nodes if node.op == "call_module")
    fused = 0
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        conv, norm = network.get_submodule(str(before.target)), network.get_submodule(str(node.target))
        alone = called[before.target] == called[node.target] == 1
        if alone and isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None:
            made = conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            weight, bias = fuse_conv_bn_weights(*made)  # type: ignore[arg-type]
            conv.weight, conv.bias = weight, bias
            # timm's normalisation includes an activation.
            network.set_submodule(str(node.target), getattr(norm, "act", None) or nn.Identity())
            fused += 1
    if not fused:
        raise ValueError(f"fuse_batchnorm=True finds no BatchNorm2d after a Conv2d in {type(network).__name__}")


def _place(network: nn.Module, key: str, tensor: Tensor) -> None:
    path, _, name = key.rpartition(".")
    module = network.get_submodule(path)
    if name in module._buffers:
        module._buffers[name] = tensor.clone()
    else:
        module.register_parameter(name, nn.Parameter(tensor.clone(), requires_grad=tensor.is_floating_point()))
