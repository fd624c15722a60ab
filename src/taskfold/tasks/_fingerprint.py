from __future__ import annotations

import hashlib
import json

import torch
from torch import Tensor, nn


def digest(tensors: dict[str, Tensor], *also: str) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of tensors (order does not matter), and further text."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data if tensor.numel() else b"")
    for text in also:
        total.update(text.encode())
    return total.hexdigest()


def fingerprint(network: nn.Module) -> str:
    """SHA-256 of a network's state: parameters and buffers by name, dtype, shape and bytes.

    Two networks with the same fingerprint compute the same if their code is the same.

    Raises:
        ValueError: the network is on the meta device and has no bytes.
    """
    state = network.state_dict()
    if any(tensor.device.type == "meta" for tensor in state.values()):
        raise ValueError("the network is on the meta device and has no weights to take a fingerprint of; load it first")
    return digest(state)
