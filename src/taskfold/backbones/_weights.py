"""Loads a user's file of weights into a network; only tensors are read from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from ._loaded import BackboneError

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_SHOWN = 4


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file.

    Raises:
        BackboneError: the file is damaged, or does not hold only tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise errors of any type: UnpicklingError, struct.error, EOFError, …
        reason = str(error).strip().partition("\n")[0]
        raise BackboneError(
            f"{path} cannot be read as weights ({reason}); give a .safetensors file, or one of torch.save(state_dict)"
        ) from None
    for key in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise BackboneError(f"{path} holds no state dict: expected names with tensors, found {type(found).__name__}")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def load_weights(network: nn.Module, path: Path, classifier: str | None = None) -> None:
    """Load a file of weights into a network.

    Args:
        network: changed only if everything fits.
        path: the file.
        classifier: the name of a classifier in the file to ignore; None: there is none.

    Raises:
        BackboneError: names or shapes do not match; the message has them.
    """
    state = read_state(path)
    if classifier:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(f"{classifier}.")}
    fill(network, state, str(path))


def fill(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Copy a state dict into a network if every name and shape matches.

    Raises:
        BackboneError: one does not.
    """
    wanted = network.state_dict()
    state = {**state, **_tied(network, state, origin)}
    # Files from before PyTorch 0.4.1 lack these counters, which nothing here needs.
    absent = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in wanted]
    odd = [
        f"{name} is {list(state[name].shape)}, must be {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    problems = [("missing", absent), ("not in the network", unknown), ("of another shape", odd)]
    if found := [f"{len(names)} {what}: {_few(names)}" for what, names in problems if names]:
        raise BackboneError(f"{origin} does not fit {type(network).__name__}: {'; '.join(found)}")
    network.load_state_dict(state, strict=False)


def _tied(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """Tensors that a file with one copy of tied tensors lacks, by their other names in the network.

    Raises:
        BackboneError: the file has unequal copies of them.
    """
    names: dict[int, list[str]] = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), []).append(name)
    missing: dict[str, Tensor] = {}
    for group in names.values():
        held = [name for name in group if name in state]
        if any(not torch.equal(state[held[0]], state[name]) for name in held[1:]):
            raise BackboneError(
                f"{origin} does not fit {type(network).__name__}: {' and '.join(held)} are one tensor in the network, "
                "and differ in the file; load a folder of such weights with its config.json"
            )
        missing |= {name: state[held[0]] for name in group if held and name not in state}
    return missing


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
