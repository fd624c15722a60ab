"""Layers with a weight: an update beside it, and a weight for each row."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Set
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..factors import Bottleneck, Modes
from ._base import NONE, LayerKind, Tensors, may_write, scaled_bias
from ._geometry import Geometry
from ._laws import holds
from ._rows import Groups, Rows
from ._thin import plus, plus_


class WeightKind(LayerKind):
    """A layer with a weight, in the layout `[O, I, *kernel]`: output channels × input channels × kernel."""

    splits = False
    packed: ClassVar[bool] = False
    """Whether the weight is packed: it can't be read, and updates must run beside the layer."""
    last: ClassVar[bool] = True
    """Whether channels are the last axis of input and output; else the second."""

    @property
    def weight(self) -> Tensor:
        """The module's parameter."""
        return self.module._parameters["weight"]  # type: ignore[return-value]

    @property
    def dtype(self) -> torch.dtype:
        return self.module._parameters["weight"].dtype  # type: ignore[union-attr]

    @property
    def bias(self) -> Tensor | None:
        return getattr(self.module, "bias", None)

    @property
    @abstractmethod
    def modes(self) -> Modes:
        """The modes of the weight for factorisations."""

    @property
    @abstractmethod
    def plainly(self) -> bool:
        """Whether the layer runs its kind's own forward; for any other forward, laws are tried."""

    groups: int = 1

    @cached_property
    def additive(self) -> bool:
        """Whether a low-rank update may run beside the layer, R channels wide."""
        return self.groups == 1 and (self.plainly or holds(self, "additive"))

    @cached_property
    def rowwise(self) -> bool:
        """Whether rows with weights and biases of their own run in one call."""
        return self.plainly or holds(self, "rowwise")

    @property
    def outputs(self) -> int:
        return self.modes.shape[0]

    @property
    def axis(self) -> int:  # type: ignore[override]
        return -1 if self.last else -1 - len(self.modes.kernel)

    def scaled(self, inside: Tensors, scale: Tensor, shift: Tensor | None) -> dict[str, Tensor]:
        words = f"a {self.words} ({type(self.module).__name__})"
        if self.packed:
            raise ValueError(
                f"{words} has packed numbers, so that a scale of its output can't be folded into it; load the backbone "
                "unquantised, fold, and quantise the result"
            )
        if shift is not None and not self.has_bias:
            raise ValueError(f"{words} has no place for a bias, so that a shift can't be folded into it")
        law, what = ("scales", "scale") if shift is None else ("shifts", "scale and a shift")
        if not (self.plainly or self.weight.is_meta or holds(self, law)):
            raise ValueError(
                f"{words} has a forward of its own that does more than y = W x + b, so that a {what} of its output "
                "can't be folded into its weight and bias; leave it out with targets, or serve the task unfolded"
            )
        return self.taking(inside, scale, shift)

    def taking(self, inside: Tensors, scale: Tensor, shift: Tensor | None) -> dict[str, Tensor]:
        """`scaled` by the law y = W x + b, whatever the layer's forward."""
        weight = self.seen(inside["weight"])
        ones = (1,) * (weight.dim() - 1)
        made = self.laid_out(weight * scale.reshape(-1, *ones))
        return {"weight": made, **scaled_bias(inside.get("bias"), scale, shift)}

    geometry: Geometry | None = None
    """The geometry of layers with torch's own forward; None: a custom autograd step can't replace the forward."""

    @abstractmethod
    def walk(self, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        """Applies a weight `[O, I, *kernel]` with the layer's stride, padding, dilation, or a subclass's forward."""

    @abstractmethod
    def examples(self, normal: Callable[..., Tensor], rows: int) -> Iterator[Tensor]:
        """Small inputs of `rows` rows, one of each shape; `normal(*sizes)` draws numbers."""

    def exchanges(self, x: Tensor) -> bool:
        return self.last and x.dim() > 2

    def positions(self, x: Tensor) -> int:
        """The number of positions at which the weight is applied to an input, the batch included."""
        return x.numel() // x.size(-1) if x.size(-1) else x.shape[:-1].numel()

    # An update beside the layer

    def reduced(self, x: Tensor, factors: Bottleneck) -> Tensor:
        """The R channels of an update."""
        return self.walk(x, factors.down)

    def plus(self, y: Tensor, up: Tensor, z: Tensor) -> Tensor:
        """`y + up z` in the type of y, from which the channels' type may differ under autocast."""
        into = plus_ if may_write() else plus
        up, z = up.to(y.dtype), z.to(y.dtype)
        if not self.last:
            return into(y, up, z)
        if y.is_nested:
            return y + F.linear(z, up)
        return into(y.reshape(-1, y.shape[-1]), up, z.reshape(-1, z.shape[-1])).reshape(y.shape)

    def beside(self, factors: Bottleneck, x: Tensor, y: Tensor) -> Tensor:
        """`y + ΔW x`, where y is the layer's output."""
        return self.plus(y, factors.up, self.reduced(x, factors))

    @abstractmethod
    def beside_rows(self, factors: Bottleneck, rows: Rows, x: Tensor, y: Tensor) -> Tensor:
        """`beside` with factors `[T, …]`, of which each row uses its entry's."""

    def beside_groups(self, factors: Bottleneck, groups: Groups, x: Tensor, y: Tensor) -> Tensor:
        """`beside` for each entry's rows, without a copy of factors for each row."""
        parts = zip(factors.picked(groups.entries).unbind(), groups.split(x), groups.split(y), strict=True)
        return groups.unsorted(torch.cat([self.beside(*part) for part in parts]))

    # A weight for each row

    def goes_by_rows(self, names: Set[str], training: bool) -> bool:
        return self.rowwise and names <= {"weight", "bias"}

    def run_rows(self, args: tuple, kwargs: dict, tensors: Tensors, rows: Rows, training: bool, layer: str) -> Any:
        weight, bias = tensors.get("weight"), tensors.get("bias")
        # One grouped convolution for all rows is faster than one for each entry.
        if weight is not None and self.modes.groups == 1 and rows.paying:
            return self.by_entry(args, kwargs, tensors, rows, training, layer)
        if weight is None:
            own = self.bias
            y = self.run(args, kwargs, NONE if bias is None or own is None else {"bias": torch.zeros_like(own)})
        else:
            (x,) = (*args, *kwargs.values())
            y = self.rows_of_weights(rows.gather(self.seen(weight)), x, rows.each)
            if bias is None and self.bias is not None:
                y = y + self._channels(self.bias[None], y).to(y.dtype)
        return y if bias is None else y + self._channels(rows.of_each(bias), y).to(y.dtype)  # as under autocast

    @abstractmethod
    def rows_of_weights(self, weights: Tensor, x: Tensor, each: int) -> Tensor:
        """Applies weights `[n, O, I, *kernel]` to a batch of `n · each` rows, without bias."""

    def _channels(self, vector: Tensor, y: Tensor) -> Tensor:
        """`[n, C]`, shaped to broadcast over y."""
        ones = [1] * (y.dim() - 2)
        rows = vector.shape[0]
        return vector.reshape(rows, *ones, -1) if self.last else vector.reshape(rows, -1, *ones)
