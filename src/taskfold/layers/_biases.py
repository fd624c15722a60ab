"""The recipe of biases: copies of those that a network has, and new ones where it has none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..factors import NORM, Group
from ..kinds import LayerKind, Patterns, WeightKind
from ..tasks import Leaves, kept_in
from ._copied import Copied, copy_of
from ._copies import Copies, check_copied
from ._nothing import NothingToAdaptError
from ._part import Part
from ._recipe import Fitting
from ._where import Linears, units

BIAS = Group("bias", 1e-3)
"""A task's own biases; 1e-3 is the largest learning rate that BitFit's authors tried with Adam."""
_NAME = re.compile(r"(^|[._])bias(_[ih]h_l\d+(_reverse)?)?$")


@dataclass(frozen=True)
class Biases(Copies):
    """A task's own biases. Weights and running statistics stay the backbone's.

    A bias is a vector that is named so: also in attention units and recurrent layers, and β of normalisation.

    Args:
        norms: include γ of normalisation.
        create: add zero biases to linear layers that have none; None: only if the network has no bias at all.
        create_at: shell patterns over the names of the linear layers that get one; `!pattern` leaves layers out. A
            language model's output layer gets none.
    """

    what: ClassVar[str] = "biases"

    norms: bool = False
    create: bool | None = None
    create_at: Patterns = "*"

    def wanted(self, kind: LayerKind) -> dict[str, Group]:
        parameters = {name: tensor for name, tensor in kind.tensors().items() if isinstance(tensor, nn.Parameter)}
        if kind.normalises:
            return {name: NORM for name in parameters if self.norms or is_bias(name, parameters[name])}
        return {name: BIAS for name, tensor in parameters.items() if is_bias(name, tensor)}

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        kinds = {path: at.kind(path) for path, _ in units(at.network)}
        has_any = any(is_bias(name, tensor) for kind in kinds.values() for name, tensor in kind.tensors().items())
        create = not has_any if self.create is None else self.create
        linear = Linears(self.create_at, setting="create_at") if create else None
        created = {target.path for target in linear.find(at.network)} if linear else frozenset()
        copied: dict[int, Tensor] = {}
        found = 0
        for path, kind in kinds.items():
            own, made = kind.tensors(), at.made.get(path, frozenset())
            groups = {name: group for name, group in self.wanted(kind).items() if name not in made}
            tensors = {name: copied.setdefault(id(own[name]), copy_of(own[name])) for name in groups}
            if path in created and "bias" not in own and "bias" not in made:
                tensors["bias"], groups["bias"] = _zero(kind, path), BIAS
            if tensors:
                check_copied(kind, path, tensors)
                found += 1
                yield path, "own", Copied(Leaves(tensors, groups))
        if not found:
            raise NothingToAdaptError(
                f"{type(at.network).__name__} has no biases that a task could own; let linear layers have new ones "
                "with create=True, or choose another method"
            )


def is_bias(name: str, tensor: Tensor) -> bool:
    """Whether a parameter is a bias: a vector that is named so.

    Example:
        >>> vector = torch.zeros(4)
        >>> [is_bias(name, vector) for name in ("bias", "in_proj_bias", "out_proj.bias", "bias_hh_l0", "weight")]
        [True, True, True, True, False]
        >>> is_bias("bias_k", torch.zeros(1, 1, 4))  # of torch's attention: another token
        False
    """
    return tensor.dim() == 1 and _NAME.search(name) is not None


def _zero(kind: LayerKind, path: str) -> nn.Parameter:
    if "bias" not in kind.module._parameters or not isinstance(kind, WeightKind):
        raise ValueError(
            f"layer {path!r} ({kind.words}, {type(kind.module).__name__}) has no place for a bias; leave it out with "
            f"create_at=('*', '!{path}')"
        )
    return nn.Parameter(torch.zeros(kind.modes.shape[0], device=kind.device, dtype=kept_in(kind.dtype)))
