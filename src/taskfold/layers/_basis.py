"""Bases, which a factorisation computes from a layer's own weight, once for all tasks; files do not hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..factors import Factorisation, marks_of
from ..kinds import LayerKind
from ..tasks import kept_in
from ._where import View, part_of


class Basis:
    """Tensors that all tasks share at a layer; they follow the layer to its device.

    Args:
        tensors: by name.
        marks: a fingerprint of them, for files.
    """

    def __init__(self, tensors: Mapping[str, Tensor], marks: tuple[float, ...]) -> None:
        self.tensors, self.marks = dict(tensors), marks

    def at(self, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        """The tensors in that type and on that device; integer tensors keep their type."""
        if any(tensor.device != device for tensor in self.tensors.values()):
            self.tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return {name: t.to(dtype) if t.is_floating_point() else t for name, t in self.tensors.items()}


@dataclass(frozen=True)
class _Known:
    """A basis, with the weight that it was computed from, and the weight's version."""

    weight: Tensor
    version: int
    basis: Basis


_KNOWN: WeakKeyDictionary[nn.Module, dict[object, _Known]] = WeakKeyDictionary()


@torch.no_grad()
def basis_of(factorisation: Factorisation, kind: LayerKind, view: View) -> Basis | None:
    """The cached basis at one view of a layer's weight; None: the factorisation needs none.

    Raises:
        ValueError: the factorisation has no basis for such a weight.
    """
    if not factorisation.has_basis:
        return None
    parameter = kind.module.get_parameter(view.parameter)
    version = -1 if parameter.is_inference() else parameter._version
    held, key = _KNOWN.setdefault(kind.module, {}), (factorisation, view)
    known = held.get(key)
    if known is None or known.weight is not parameter or known.version != version:
        weight = part_of(kind.seen(parameter), view).detach().double()
        weight = weight if weight.is_meta else weight.cpu()
        made = factorisation.basis(weight.reshape(view.modes.shape), view.modes)
        dtype = kept_in(parameter.dtype)
        kept = {name: t.to(parameter.device, dtype if t.is_floating_point() else t.dtype) for name, t in made.items()}
        known = held[key] = _Known(parameter, version, Basis(kept, marks_of(*made.values())))
    return known.basis
