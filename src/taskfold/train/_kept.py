"""Checks that a method's hook changes nothing but what it may."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..model import MultiTask

CHUNK = 1 << 20
ODD = 0x2545F4914F6CDD1D


class Kept:
    """A record of a model before a hook runs.

    Args:
        model: the model.
        writable: tensors that the hook may write to.
    """

    def __init__(self, model: MultiTask, writable: Collection[Tensor] = ()) -> None:
        self.modules = [(path, module, _tables(module)) for path, module in model.named_modules()]
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self.tensors = {key: (tensor, tensor.detach(), tensor.requires_grad) for key, tensor in named.items()}
        may = {id(tensor) for tensor in writable}
        self.elsewhere = {key: tensor for key, tensor in named.items() if id(tensor) not in may}
        self.sums = checksums(self.elsewhere)

    def changed(self) -> str | None:
        """The first forbidden change, in words; None: none."""
        for path, module, before in self.modules:
            for what, was, now in zip(("tensor", "tensor", "module"), before, _tables(module), strict=True):
                for name in [*was, *(name for name in now if name not in was)]:
                    if was.get(name) is not now.get(name):
                        did = f"put another {what} in the place of" if name in was else f"registered a {what},"
                        return f"has {did} {f'{path}.{name}'.lstrip('.')!r}"
        for key, (tensor, data, trained) in self.tensors.items():
            if tensor.shape != data.shape or tensor.dtype != data.dtype:
                found = f"{tuple(tensor.shape)} of {tensor.dtype}"
                return f"has made {key!r}, {tuple(data.shape)} of {data.dtype}, another tensor: {found}"
            if tensor.requires_grad != trained:
                return f"has {'frozen' if trained else 'unfrozen'} {key!r}"
        sums = checksums(self.elsewhere)
        return next((f"has written to {key!r}" for key, before in self.sums.items() if sums[key] != before), None)

    def put_back(self) -> None:
        """Restores modules, tensors and `requires_grad`; values stay as they are now."""
        for _, module, before in self.modules:
            for was, now in zip(before, _tables(module, copied=False), strict=True):
                now.clear()
                now.update(was)
        for tensor, data, trained in self.tensors.values():
            if tensor.shape != data.shape or tensor.dtype != data.dtype or tensor.data_ptr() != data.data_ptr():
                tensor.data = data
            if tensor.requires_grad != trained:
                tensor.requires_grad_(trained)


def _tables(module: nn.Module, copied: bool = True) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [module._parameters, module._buffers, module._modules]
    return [dict(table) for table in found] if copied else found


@torch.no_grad()
def checksums(tensors: dict[str, Tensor]) -> dict[str, int]:
    """A checksum of each tensor's bits; any change of a single number changes it.

    Example:
        >>> tensors = {"a": [1.0, 2.0], "b": [2.0, 1.0], "c": [1.0, 2.0]}
        >>> found = checksums({name: torch.tensor(numbers) for name, numbers in tensors.items()})
        >>> found["a"] == found["b"], found["a"] == found["c"]
        (False, True)
    """
    sums = {key: [_sum(part) for part in _plain(tensor)] for key, tensor in tensors.items()}
    every = [one for several in sums.values() for one in several]
    found = iter([] if not every else torch.stack([one.to(every[0].device) for one in every]).tolist())
    return {key: sum(next(found) for _ in several) for key, several in sums.items()}


def _sum(bits: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.long, device=bits.device)
    for start in range(0, len(bits), CHUNK):
        part = bits[start : start + CHUNK].long()
        total += (part * ((2 * torch.arange(start, start + len(part), device=bits.device) + 1) * ODD)).sum()
    return total


def _plain(tensor: Tensor) -> Iterator[Tensor]:
    """The tensor's bits as integers; of a tensor subclass those of its inner tensors."""
    if tensor.is_meta:
        return
    if hasattr(tensor, "__tensor_flatten__"):
        for name in tensor.__tensor_flatten__()[0]:  # type: ignore[operator]
            yield from _plain(getattr(tensor, name))
        return
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    flat = tensor.detach().contiguous().flatten()
    yield flat.view({2: torch.int16, 4: torch.int32, 8: torch.int64}.get(flat.element_size(), torch.uint8))
