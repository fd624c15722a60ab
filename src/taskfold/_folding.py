"""A backbone's tensors changed in a copy of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def folded(backbone: nn.Module, changes: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the backbone with these tensors, by name.

    Layers that share a tensor share it no longer where they come to hold different ones. What the backbone has not (a
    bias, say) is added.
    """
    plain = copy.deepcopy(backbone)
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


def _place(network: nn.Module, key: str, tensor: Tensor) -> None:
    """A tensor of the layer's own."""
    path, _, name = key.rpartition(".")
    module = network.get_submodule(path)
    if name in module._buffers:
        module._buffers[name] = tensor.clone()
    else:
        module.register_parameter(name, nn.Parameter(tensor.clone(), requires_grad=tensor.is_floating_point()))
