"""What is found out about a layer once, by trying it where its class does not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ._linearity import is_additive
from ._own import is_norm
from ._stand_in import stand_in

MEAN, VARIANCE = "running_mean", "running_var"


@dataclass(frozen=True)
class Scale:
    """A normalisation multiplies one axis by its weight and adds its bias, and that is all they do.

    Attributes:
        axis: the one of the channels, 1 or -1.
        unit: the weight that leaves numbers as they are: 1, or 0 where the layer multiplies by 1 + weight (Gemma).
    """

    axis: int
    unit: float

    def neutral(self, names: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors that leave numbers as they are, for those of a row `[C]`, by name."""
        return {
            name: torch.full_like(tensor, self.unit) if name == "weight" else torch.zeros_like(tensor)
            for name, tensor in names.items()
        }

    def apply(self, normalised: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Rows `[B, …]` scaled and shifted by tensors of their own, `[B, C]`."""
        axis = normalised.dim() - 1 if self.axis == -1 else self.axis
        shape = [normalised.shape[0], *(size if n == axis else 1 for n, size in enumerate(normalised.shape[1:], 1))]
        if weight is not None:
            weight = (weight if self.unit == 1 else weight + (1 - self.unit)).reshape(shape)
        if bias is None:
            return normalised if weight is None else normalised * weight
        bias = bias.reshape(shape)
        return normalised + bias if weight is None else torch.addcmul(bias, normalised, weight)


@dataclass(frozen=True)
class Traits:
    """Of a layer.

    Attributes:
        additive: its forward is linear in its weight, so that an update may run beside it.
        scale: how a normalisation uses its weight and bias; None: it is none, or does otherwise.
        absorbs: a BatchNorm, whose statistics can go into its weight and bias.
    """

    additive: bool
    scale: Scale | None
    absorbs: bool

    @classmethod
    def of(cls, module: nn.Module) -> Traits:
        return cls(is_additive(module), scale_of(module), _absorbs(module))


def goes_by_rows(module: nn.Module, scale: Scale | None) -> bool:
    """Whether a normalisation can run, in evaluation, with other tensors for each row of a batch."""
    return module.track_running_stats if isinstance(module, _BatchNorm) else scale is not None


def scale_of(module: nn.Module) -> Scale | None:
    """How a normalisation scales; those with a forward of their own are tried on small inputs, in double precision."""
    weight = getattr(module, "weight", None)
    if not is_norm(module) or isinstance(module, _BatchNorm) or weight is None or weight.dim() != 1:
        return None
    forward = type(module).forward
    if forward is nn.GroupNorm.forward:
        return Scale(1, 1.0)
    if forward in (nn.LayerNorm.forward, nn.RMSNorm.forward):
        return Scale(-1, 1.0)
    if weight.device.type == "meta":
        return None
    channels = len(weight)
    for axis, shape in ((-1, (2, 3, channels)), (1, (2, channels, 3, 3))):
        for unit in (1.0, 0.0):
            if _holds(module, scale := Scale(axis, unit), shape):
                return scale
    return None


def absorbed(module: nn.Module, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """γ and β `[C]` with the statistics of a BatchNorm in them, as those of one whose own are `standard`."""
    scale = whole["weight"] * torch.rsqrt(whole[VARIANCE] + module.eps)  # type: ignore[operator]
    return {"weight": scale * (1 + module.eps) ** 0.5, "bias": whole["bias"] - whole[MEAN] * scale}  # type: ignore[operator]


def standard(like: Tensor) -> dict[str, Tensor]:
    """Statistics of mean 0 and variance 1."""
    return {MEAN: torch.zeros_like(like), VARIANCE: torch.ones_like(like)}


def _absorbs(module: nn.Module) -> bool:
    """Whether it does; one with a forward of its own is tried."""
    if not isinstance(module, _BatchNorm) or not (module.track_running_stats and module.affine):
        return False
    if type(module).forward is _BatchNorm.forward:
        return True
    if module.weight.device.type == "meta":
        return False
    random = _random()
    own = {name: random(module.num_features) for name in ("weight", "bias", MEAN)}
    own[VARIANCE] = random(module.num_features).square()
    x = random(2, module.num_features, 3, 3)
    try:
        with torch.no_grad():
            wanted = stand_in(module, own, training=False).forward(x)
            found = stand_in(module, absorbed(module, own) | standard(own[MEAN]), training=False).forward(x)
        return torch.allclose(wanted, found)
    except Exception:
        return False  # of inputs of another kind, say


def _random() -> Callable[..., Tensor]:
    dice = torch.Generator().manual_seed(0)
    return lambda *size: torch.randn(*size, generator=dice, dtype=torch.float64)


def _holds(module: nn.Module, scale: Scale, shape: tuple[int, ...]) -> bool:
    random = _random()
    own = {name: random(*tensor.shape) for name, tensor in module.named_parameters(recurse=False)}
    if own.keys() - {"weight", "bias"}:
        return False
    x, rows = random(*shape), {name: tensor.expand(shape[0], -1) for name, tensor in own.items()}
    try:
        with torch.no_grad():
            wanted = stand_in(module, own).forward(x)
            found = scale.apply(stand_in(module, scale.neutral(own)).forward(x), rows.get("weight"), rows.get("bias"))
        # Some normalise in single precision, whatever they are given.
        return wanted.shape == x.shape and torch.allclose(wanted.double(), found.double(), rtol=1e-4, atol=1e-4)
    except Exception:
        # Whatever such a forward cannot do with other tensors, running each task by itself does not ask of it.
        return False
