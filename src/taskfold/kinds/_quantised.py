"""Linear layers with packed weights: tasks can only have updates beside them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Set
from functools import partial
from importlib import import_module
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses import FakeTensor
from torch.autograd.function import once_differentiable
from torch.utils.weak import WeakIdKeyDictionary

from ..factors import Bottleneck, Modes
from ._any import AnyLayer
from ._base import NONE, Tensors
from ._linear import Linear
from ._rows import Rows
from ._stand_in import stand_in

NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types of layers' tensors that tasks can change."""
_PLAIN = (nn.Parameter, Tensor, FakeTensor)
"""Classes of plain weights; a compiler replaces them by fake tensors."""


class Quantised(Linear):
    """A linear layer with a weight of 4 or 8 bits: bitsandbytes, and tensor subclasses of torchao."""

    words = "quantised linear layer"
    packed = True

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        if not isinstance(module, nn.Linear) or (weight := module._parameters.get("weight")) is None:
            return False
        sizes = _sizes(module)
        if not all(isinstance(size, int) for size in sizes):
            return False
        numbers = weight.is_floating_point() or weight.is_complex()
        return not numbers or tuple(weight.shape) != sizes[::-1] or type(weight) not in _PLAIN

    @property
    def modes(self) -> Modes:
        return Modes((self.module.out_features,), (self.module.in_features,))  # type: ignore[arg-type]

    @property
    def dtype(self) -> torch.dtype:
        """The type of computation: `compute_dtype`, or the floating type of weight or bias."""
        held = [
            tensor for tensor in self.module._parameters.values() if tensor is not None and tensor.is_floating_point()
        ]
        seen = next((tensor.dtype for tensor in held if tensor.dtype.itemsize > 1), torch.get_default_dtype())
        return getattr(self.module, "compute_dtype", None) or seen

    @property
    def additive(self) -> bool:  # type: ignore[override]
        return True

    @property
    def rowwise(self) -> bool:  # type: ignore[override]
        return False

    def tensors(self) -> dict[str, Tensor]:
        """The bias alone, since a task can't replace a packed weight."""
        bias = self.module._parameters.get("bias")
        return {} if bias is None else {"bias": bias}

    @property
    def plainly(self) -> bool:
        return False

    def examples(self, normal: Callable[..., Tensor], rows: int) -> Iterator[Tensor]:
        yield normal(rows, self.module.in_features)

    def goes_by_rows(self, names: Set[str], training: bool) -> bool:
        return False

    def beside_rows(self, factors: Bottleneck, rows: Rows, x: Tensor, y: Tensor) -> Tensor:
        return super().beside_rows(factors, rows, x.to(factors.down.dtype), y)

    def walk(self, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        return super().walk(x.to(weight.dtype), weight)


class ActivationQuantised(Quantised):
    """A layer of torchao that quantises its inputs too, in an operation without gradient.

    The backward pass uses the unpacked weight.
    """

    replaces = True
    passes = False
    """Whether the layer's own operation passes a gradient on to its inputs."""

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        return (
            Quantised.fits(module)
            and type(module).forward is nn.Linear.forward
            and _stops(cast(nn.Linear, module).weight)
        )

    def unpacked(self) -> Tensor:
        return self.module.weight.dequantize()  # type: ignore[operator, union-attr]

    def plain(self, *args: Any, **kwargs: Any) -> Any:
        (x,) = (*args, *kwargs.values())
        if torch.is_grad_enabled() and x.requires_grad and not self.passes:
            return _Through.apply(x, self, partial(type(self.module).forward, self.module))
        return super().plain(x)

    def run(self, args: tuple, kwargs: dict, tensors: Tensors = NONE, training: bool = False) -> Any:
        (x,) = (*args, *kwargs.values())
        if tensors and torch.is_grad_enabled() and not self.passes:
            return _Through.apply(x, self, stand_in(self.module, {"bias": None}).forward) + tensors["bias"]
        return super().run(args, kwargs, tensors, training)


class FourBit(ActivationQuantised):
    """bitsandbytes' `Linear4bit`.

    On CPUs with AVX512-BF16 its forward packs the weight anew, in place and with scales in bfloat16, when it first runs
    in evaluation on an input without gradient. A weight that has been packed so passes no gradient on. Proxies switch
    this off, and the backward pass of a layer that is packed already uses the unpacked weight.
    """

    PACKS: ClassVar[str] = "support_avx512bf16_for_cpu"
    """The attribute that lets the forward pack the weight."""

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        return Quantised.fits(module) and cls.PACKS in module.__dict__

    @property
    def passes(self) -> bool:
        return not getattr(self._state, "packing_format_for_cpu", False)

    @property
    def _state(self) -> Any:
        return getattr(self.module.weight, "quant_state", None)

    def unpacked(self) -> Tensor:
        library, weight = import_module("bitsandbytes.functional"), cast(Tensor, self.module.weight)
        numbers, state = library._convert_weight_packed_for_cpu_inverse(weight.data, copy.copy(self._state))
        return cast(Tensor, library.dequantize_4bit(numbers, state))

    def plain(self, *args: Any, **kwargs: Any) -> Any:
        (x,) = (*args, *kwargs.values())
        lent = self._lent(NONE, x)
        return self.at(stand_in(self.module, lent)).plain(x) if lent else super().plain(x)

    def run(self, args: tuple, kwargs: dict, tensors: Tensors = NONE, training: bool = False) -> Any:
        (x,) = (*args, *kwargs.values())
        return super().run((x,), {}, self._lent(tensors, x), training)

    def _lent(self, tensors: Tensors, x: Tensor) -> Tensors:
        """The tensors, with a bias in the type of computation: the forward would cast the one it has in place."""
        layer: Any = self.module
        fresh = not layer.compute_type_is_set and x.dtype in (torch.float32, torch.bfloat16)
        wanted = x.dtype if fresh else layer.compute_dtype or x.dtype
        bias = tensors.get("bias", layer._parameters.get("bias"))
        return tensors if bias is None or bias.dtype == wanted else {"bias": bias.to(wanted)}


class DynamicQuantised(ActivationQuantised):
    """torch's dynamic int8."""

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        if "quantized" not in type(module).__module__ or module._parameters.get("weight") is not None:
            return False
        # A method unpacks the weight; properties are not read, since they may have effects.
        return callable(getattr(type(module), "weight", None)) and all(isinstance(n, int) for n in _sizes(module))

    def unpacked(self) -> Tensor:
        return self.module.weight().dequantize()  # type: ignore[operator]


class QuantisedEmbedding(AnyLayer):
    """An embedding with packed numbers, which tasks leave alone."""

    words = "quantised embedding"

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        return isinstance(module, nn.Embedding) and "quant" in type(module.weight).__module__

    def tensors(self) -> dict[str, Tensor]:
        return {}


class _Through(torch.autograd.Function):
    """A quantised layer with the gradient of its dequantised linear layer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: ActivationQuantised, run: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.kind, ctx.dtype = kind, x.dtype
        return run(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        weight = ctx.kind.unpacked()
        return (grad.to(weight.dtype) @ weight).to(ctx.dtype), None, None


_STOPS = WeakIdKeyDictionary()
"""By weight: whether its product passes no gradient on."""


def _stops(weight: Tensor) -> bool:
    """Whether a tensor subclass of a quantiser passes no gradient on to inputs, by a trial."""
    if "quant" not in type(weight).__module__:
        return False
    if weight not in _STOPS:
        with torch.enable_grad():
            x = torch.zeros(1, weight.shape[1], dtype=weight.dtype, device=weight.device, requires_grad=True)
            _STOPS[weight] = not F.linear(x, weight.detach()).requires_grad
    return bool(_STOPS[weight])


def _sizes(module: nn.Module) -> tuple[Any, Any]:
    return getattr(module, "in_features", None), getattr(module, "out_features", None)
