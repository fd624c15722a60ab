"""A bottleneck with a non-linearity behind a layer, or beside it: y + up σ(down y + b) + b'."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..factors import check_number
from ..kinds import Attention, Embedding, Groups, LayerKind, Rows, Tensors, WeightKind, may_write, thin
from ._base import Call, Intervention, Layer, Shapes

Activation = Literal["relu", "gelu", "silu", "tanh"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


@dataclass(frozen=True)
class Adapter(Intervention):
    """`down` `[r, I]`, `down_bias` `[r]`, `up` `[O, r]`, `up_bias` `[O]`; the same at every position of the input.

    Behind a layer its input is the layer's output, and I = O. Beside a layer its input is the layer's, with the same
    positions as the output. Of several outputs it changes the first.

    Args:
        activation: σ: `relu`, `gelu`, `silu` or `tanh`.
        scale: factor on the added term.
        beside: run beside the layer, not behind it.

    Raises:
        ValueError: the activation is not one of these, or the scale is 0 or no finite number.
    """

    name: ClassVar[str] = "adapter"
    depth: ClassVar[int] = 3
    activation: Activation = "relu"
    scale: float = 1.0
    beside: bool = False

    def __post_init__(self) -> None:
        if self.activation not in get_args(Activation):
            raise ValueError(
                f"activation={self.activation!r} is not known; choose one of {', '.join(get_args(Activation))}"
            )
        check_number("scale", self.scale, "other than 0, which would add nothing", lambda scale: scale != 0)

    def run(self, tensors: Tensors, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        def added(x: Tensor, y: Tensor) -> Tensor:
            return self._added(tensors, layer.kind, x, y)

        return self._over(added, call, args, kwargs)

    def goes_by_rows(self, kind: LayerKind, names: Set[str], training: bool) -> bool:
        return kind.axes[0] == 0 and getattr(kind.module, "batch_first", True)

    def rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        def added(x: Tensor, y: Tensor) -> Tensor:
            groups = rows.paying
            if groups is not None and not (groups.alike and _last(layer.kind)):
                return self._by_groups(tensors, layer.kind, groups, x, y)
            return self._by_rows(tensors, layer.kind, rows, groups, x, y)

        return self._over(added, call, args, kwargs)

    def _over(self, added: Callable[[Tensor, Tensor], Tensor], call: Call, args: tuple, kwargs: dict) -> Any:
        """The layer's output, or the first of several, with the added term."""
        output = call(*args, **kwargs)
        x = (args[0] if args else next(iter(kwargs.values()))) if self.beside else None
        return self._added_to(output, added, x)

    def _added_to(self, output: Any, added: Callable[[Tensor, Tensor], Tensor], x: Tensor | None) -> Any:
        """An output with the term `added(x, y)`; x None: `added(y, y)`."""
        several = isinstance(output, (tuple, list))
        y: Tensor = output[0] if several else output
        made = added(y if x is None else x, y)
        if not several:
            return made
        rest = (made, *output[1:])
        return type(output)(*rest) if hasattr(output, "_fields") else type(output)(rest)

    def _added(self, tensors: Tensors, kind: LayerKind, x: Tensor, y: Tensor) -> Tensor:
        down, down_bias, up, up_bias = self._cast(tensors, x.dtype)
        last = _last(kind)
        z = ACTIVATIONS[self.activation](_mapped(down, down_bias, x, last))
        return _plus(kind, y, _mapped(up, up_bias, z, last))

    def _by_groups(self, tensors: Tensors, kind: LayerKind, groups: Groups, x: Tensor, y: Tensor) -> Tensor:
        """Runs each entry's rows, without a copy of tensors for each row."""
        parts = zip(groups.entries, groups.split(x), groups.split(y), strict=True)
        each = {name: tensor.unbind() for name, tensor in tensors.items()}
        made = [self._added({name: held[n] for name, held in each.items()}, kind, *part) for n, *part in parts]
        return groups.unsorted(torch.cat(made))

    def _by_rows(
        self, tensors: Tensors, kind: LayerKind, rows: Rows, groups: Groups | None, x: Tensor, y: Tensor
    ) -> Tensor:
        """Two batched products over blocks of rows with tensors of their own; `groups`: a block is an entry's rows."""
        cast = self._cast(tensors, x.dtype)
        if groups is not None:
            own = [_picked(tensor, groups.entries) for tensor in cast]
            blocks = groups.sorted(x).reshape(len(groups.sizes), -1, x.shape[-1])
        elif _last(kind):
            own = [rows.gather(tensor) for tensor in cast]
            blocks = x.reshape(own[0].shape[0], -1, x.shape[-1])  # len() would be a constant in a traced graph
        else:
            own = [rows.of_each(tensor) for tensor in cast]
            blocks = x.flatten(2)
        down, down_bias, up, up_bias = own
        activation = ACTIVATIONS[self.activation]
        if _last(kind):
            z = activation(torch.baddbmm(down_bias[:, None], blocks, down.mT))
            delta = torch.baddbmm(up_bias[:, None], z.to(up.dtype), up.mT)
        else:
            z = activation(torch.baddbmm(down_bias[..., None], down, blocks))
            delta = torch.baddbmm(up_bias[..., None], up, z.to(up.dtype))
        delta = delta.reshape(y.shape)
        return _plus(kind, y, delta if groups is None else groups.unsorted(delta))

    def _cast(self, tensors: Tensors, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The tensors in a type, `up` and its bias scaled; under autocast a layer's output has autocast's type."""
        down, down_bias, up, up_bias = (tensors[name].to(dtype) for name in ("down", "down_bias", "up", "up_bias"))
        if self.scale != 1.0:
            up, up_bias = up * self.scale, up_bias * self.scale
        return down, down_bias, up, up_bias

    def neutral(self, kind: LayerKind, shapes: Shapes) -> dict[str, Tensor]:
        return {name: torch.zeros(shape, device=kind.device, dtype=kind.dtype) for name, shape in shapes.items()}

    def widened(self, mine: Shapes, other: Shapes) -> Shapes | None:
        """The larger r: padded columns of `up` are zero, whatever σ(0)."""
        if (mine["up"][0], mine["down"][1]) != (other["up"][0], other["down"][1]):
            return None
        width = max(mine["up"][1], other["up"][1])
        return {**mine, "down": (width, mine["down"][1]), "down_bias": (width,), "up": (mine["up"][0], width)}

    def fits(self, kind: LayerKind, tensors: Tensors) -> bool:
        known = self.channels(kind)
        if known is None:
            return not isinstance(kind, WeightKind)
        return known == (tensors["up"].shape[0], tensors["down"].shape[1])

    def channels(self, kind: LayerKind) -> tuple[int, int] | None:
        """O and I at a layer; None: an adapter does not fit there, or the layer's channels are unknown."""
        if isinstance(kind, Attention):
            width: int = kind.module.embed_dim  # type: ignore[assignment]
            return width, width
        if not isinstance(kind, WeightKind):
            return None
        out, inp, *kernel = kind.modes.shape
        if not self.beside:
            return out, out
        # A convolution keeps positions if it is pointwise; an embedding's input has no channels.
        keeps = kind.last or (set(kernel) == {1} and _points(kind))
        return (out, inp * kind.modes.groups) if keeps and not isinstance(kind, Embedding) else None

    def folds(self, kind: LayerKind) -> bool:
        return False

    def folded(self, kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
        where = "beside" if self.beside else "behind"
        raise ValueError(
            f"an adapter stands {where} this {kind.words}, and no plain layer holds its non-linearity "
            f"({self.activation}): serve the task as it is (model(x, task=…)), or export the bank (model.bank())"
        )


def _last(kind: LayerKind) -> bool:
    return getattr(kind, "last", True)


def _picked(tensor: Tensor, entries: Sequence[int]) -> Tensor:
    """The slices of some entries along the first axis, in that order."""
    if list(entries) == list(range(len(tensor))):
        return tensor
    return tensor.index_select(0, torch.tensor(list(entries), device=tensor.device))


def _points(kind: WeightKind) -> bool:
    """Whether stride and padding of a convolution keep each position."""
    module = kind.module
    padding = module.padding
    return set(module.stride) == {1} and (padding in ("same", "valid") or set(padding) == {0})  # type: ignore[arg-type]


def _mapped(weight: Tensor, bias: Tensor, x: Tensor, last: bool) -> Tensor:
    """`weight x + bias` at each position."""
    x = x.to(weight.dtype)
    if last:
        return F.linear(x, weight, bias)
    made = thin(weight, x)
    return made + bias.to(made.dtype).reshape(-1, *[1] * (x.dim() - 2))


def _plus(kind: LayerKind, y: Tensor, delta: Tensor) -> Tensor:
    """`y + delta`, in place for a fresh y of a layer with a weight; other modules may return their input."""
    delta = delta.to(y.dtype)
    return y.add_(delta) if isinstance(kind, WeightKind) and may_write() else y + delta
