"""Normalisations, which then scale and shift their channels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from ._base import NONE, SEEN, LayerKind, Tensors, scaled_bias
from ._rows import Rows
from ._tried import attempt, once, random, shaken

_NAME = re.compile(r"(Batch|Layer|Group|Instance|RMS|Sync\w*)_?Norm|Norm(2d|Act\w*)?$")
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation: torch's own, or one named so with parameters (timm, Hugging Face)."""
    if isinstance(module, _NORMS):
        return True
    return bool(module._parameters) and _NAME.search(type(module).__name__) is not None


@dataclass(frozen=True)
class Scale:
    """The scale of a normalisation that only multiplies one axis by its weight and adds its bias.

    Attributes:
        axis: of the channels, 1 or -1.
        unit: the neutral weight: 1, or 0 if the layer multiplies by 1 + weight (Gemma).
    """

    axis: int
    unit: float

    def neutral(self, tensors: Tensors) -> dict[str, Tensor]:
        """Neutral weight and bias in place of a layer's own."""
        return {
            name: torch.full_like(tensor, self.unit) if name == "weight" else torch.zeros_like(tensor)
            for name, tensor in tensors.items()
        }

    def apply(self, normalised: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Scales and shifts rows `[B, …]` by tensors of their own, `[B, C]`."""
        axis = normalised.dim() - 1 if self.axis == -1 else self.axis
        shape = [normalised.shape[0], *(size if n == axis else 1 for n, size in enumerate(normalised.shape[1:], 1))]
        if weight is not None:
            weight = (weight if self.unit == 1 else weight + (1 - self.unit)).reshape(shape)
        if bias is None:
            return normalised if weight is None else normalised * weight
        bias = bias.reshape(shape)
        return normalised + bias if weight is None else torch.addcmul(bias, normalised, weight)


class Norm(LayerKind):
    """A normalisation without running statistics: LayerNorm, GroupNorm, RMSNorm and modules named so."""

    words = "normalisation"
    normalises = True
    splits = False

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        return is_norm(module)

    def exchanges(self, x: Tensor) -> bool:
        over = getattr(self.module, "normalized_shape", (0,))
        return self.scale is not None and self.scale.axis == -1 and x.dim() - len(over) > 1

    @cached_property
    def scale(self) -> Scale | None:
        """How it uses its weight and bias; None: not as a scale and shift of one axis."""
        return once(self.source, "scale", lambda: scale_of(self.module))  # type: ignore[return-value]

    def run(self, args: tuple, kwargs: dict, tensors: Tensors = NONE, training: bool = False) -> Any:
        # Statistics without a count of the task's own are fixed (InstanceNorm's, if it has any).
        training = training and (SEEN in tensors or self.module._buffers.get(SEEN) is None)
        return super().run(args, kwargs, tensors, training)

    def goes_by_rows(self, names: Set[str], training: bool) -> bool:
        return self.scale is not None and names <= {"weight", "bias"}

    def run_rows(self, args: tuple, kwargs: dict, tensors: Tensors, rows: Rows, training: bool, layer: str) -> Any:
        scale = self.scale
        assert scale is not None
        own = {name: tensor for name, tensor in self.tensors().items() if name in ("weight", "bias")}
        y = self.run(args, kwargs, scale.neutral(own))
        mine = {
            name: rows.of_each(tensors[name]) if name in tensors else one.expand(rows.size, -1)
            for name, one in {**own, **tensors}.items()
        }
        return scale.apply(y, mine.get("weight"), mine.get("bias"))

    # Scale and shift of output channels

    @property
    def within(self) -> bool:
        return bool(once(self.source, "within", lambda: _within(self.module)))

    @cached_property
    def affine(self) -> Scale | None:
        """`scale` for passes of one task, where training may normalise otherwise than evaluation."""
        return once(self.source, "affine", lambda: self.scale or scale_of(self.module, rows=False))  # type: ignore

    @property
    def outputs(self) -> int | None:
        weight: Tensor | None = getattr(self.module, "weight", None)
        known = self.within or self.affine is not None or (weight is not None and weight.is_meta)
        return len(weight) if known and weight is not None and weight.dim() == 1 else None

    @property
    def axis(self) -> int:  # type: ignore[override]
        return -1 if self.affine is None else self.affine.axis

    def scaled(self, inside: Tensors, scale: Tensor, shift: Tensor | None) -> dict[str, Tensor]:
        if shift is not None and not self.has_bias:
            raise ValueError(
                f"a {self.words} ({type(self.module).__name__}) has no place for a bias, so that a shift can't be "
                "folded into it"
            )
        less = 0 if self.affine is None else 1 - self.affine.unit
        return {"weight": (inside["weight"] + less) * scale - less, **scaled_bias(inside.get("bias"), scale, shift)}


def _within(module: nn.Module) -> bool:
    """Whether γ and β scale and shift the normalised values, before children run."""
    weight = module._parameters.get("weight")
    if weight is None or weight.dim() != 1 or "bias" not in module._parameters:
        return False
    scale = scale_of(module, rows=False)
    if scale is None and module._modules:
        scale = scale_of(module, rows=False, _modules={name: nn.Identity() for name in module._modules})
    return weight.is_meta or (scale is not None and scale.unit == 1)


def scale_of(module: nn.Module, *, rows: bool = True, **attributes: Any) -> Scale | None:
    """The scale of a normalisation; a forward of its own is tried on small inputs, in double precision.

    Args:
        module: the normalisation.
        rows: require that training normalises like evaluation, in which mixed rows run.
        attributes: replace the module's.
    """
    weight = module._parameters.get("weight", module._buffers.get("weight"))
    if not is_norm(module) or isinstance(module, _BatchNorm) or weight is None or weight.dim() != 1:
        return None
    forward = type(module).forward
    if forward in (nn.GroupNorm.forward, _InstanceNorm.forward):
        return Scale(1, 1.0)
    if forward in (nn.LayerNorm.forward, nn.RMSNorm.forward):
        return Scale(-1, 1.0)
    if weight.device.type == "meta":
        return None
    channels = len(weight)
    for axis, shape in ((-1, (2, 3, channels)), (1, (2, channels, 3, 3))):
        for unit in (1.0, 0.0):
            if _holds(module, scale := Scale(axis, unit), shape, rows, attributes):
                return scale
    return None


def _holds(module: nn.Module, scale: Scale, shape: tuple[int, ...], rows: bool, attributes: Mapping[str, Any]) -> bool:
    normal = random()
    first = {name: normal(*tensor.shape) for name, tensor in module.named_parameters(recurse=False)}
    if first.keys() - {"weight", "bias"}:
        return False
    once_more, x = {**shaken(module, first)[0]}, normal(*shape)
    try:
        # Two magnitudes, to reveal clamps.
        for size, training, state in ((1.0, False, {}), (1e3, True, once_more)):
            own = {name: size * tensor for name, tensor in first.items()}
            mine = {name: tensor.expand(shape[0], -1) for name, tensor in own.items()}
            wanted = attempt(module, {**state, **own}, x, training, **attributes)
            neutral = attempt(module, {**state, **scale.neutral(own)}, x, training and not rows, **attributes)
            found = scale.apply(neutral, mine.get("weight"), mine.get("bias"))
            # Some normalise in single precision, whatever the input.
            close = torch.allclose(wanted.double(), found.double(), rtol=1e-4, atol=1e-4 * size)
            if wanted.shape != x.shape or not close:
                return False
        return True
    except Exception:
        # A forward that fails with other tensors runs task by task.
        return False
