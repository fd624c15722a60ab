"""Gated choices between a task's block and its shortcut, or the backbone's block."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..kinds import LayerKind, Rows, Tensors, stand_in
from ._base import Call, Intervention, Layer, Shapes

Branch = Literal["skip", "frozen"]


@dataclass(frozen=True)
class Choose(Intervention):
    """Σ gate_k · branch_k at a residual block; the first branch is the block with the task's changes inside it.

    `gates` is `[2]`, or `[B, 2]` if each row has its own. In evaluation gates are 0 or 1, and the output is exactly the
    chosen branch.

    Args:
        other: the second branch. `skip`: the block's shortcut. `frozen`: the backbone's block.
        shortcut: name of the child that is the shortcut; None: the block's input.
    """

    other: Branch = "skip"
    shortcut: str | None = None
    name: ClassVar[str] = "choose"
    depth: ClassVar[int] = 4
    around: ClassVar[bool] = True

    def run(self, tensors: Tensors, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        return self._mixed(tensors["gates"], layer, *self._branches(call, layer, args, kwargs))

    def goes_by_rows(self, kind: LayerKind, names: Set[str], training: bool) -> bool:
        return True

    def rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        branches, gates = self._branches(call, layer, args, kwargs), tensors["gates"]
        if gates.dim() == 2:
            return self._mixed(rows.of_each(gates), layer, *branches)
        place = torch.arange(rows.size, device=gates.device) % gates.shape[1]  # a broadcast repeats the rows
        return self._mixed(gates[rows.entry_of_each(gates.device), place], layer, *branches)

    def _branches(self, call: Call, layer: Layer, args: tuple, kwargs: dict) -> tuple[Tensor, Tensor]:
        """The outputs of the task's block and of the other branch."""
        given = (*args, *kwargs.values())
        if len(given) != 1:
            raise ValueError(f"layer {layer.path!r} got {len(given)} inputs, and a choice is between branches of one")
        if self.other == "skip":
            return self._beside_shortcut(call, layer, given[0])
        if layer.bare is None:
            raise ValueError(f"layer {layer.path!r} stands in no network, which knows the backbone's block")
        return call(given[0]), layer.bare(given[0])

    def _mixed(self, gates: Tensor, layer: Layer, *branches: Tensor) -> Tensor:
        y, second = branches
        if gates.dim() == 2 and len(gates) not in (1, len(y)):
            raise ValueError(
                f"layer {layer.path!r} puts out {len(y)} rows, and gates are for {len(gates)}; run one task at a time, "
                "or leave the block out with targets"
            )
        one, two = (gate.reshape(-1, *[1] * (y.dim() - 1)) if gate.dim() else gate for gate in gates.unbind(-1))
        if layer.training:
            return y * one.to(y.dtype) + second * two.to(y.dtype)
        return torch.where(one > 0, y, second)

    def _beside_shortcut(self, call: Call, layer: Layer, x: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of the block and its shortcut, which runs once, since it may write statistics in training."""
        if self.shortcut is None:
            return call(x), x
        block = layer.kind.module
        made: Tensor = block._modules[self.shortcut](x)  # type: ignore[misc]
        if not isinstance(call, Layer):
            return call(x), made
        twin = stand_in(block, {}, _modules={**block._modules, self.shortcut: _Given(made)})
        return replace(call, kind=layer.kind.at(twin))(x), made

    def neutral(self, kind: LayerKind, shapes: Shapes) -> dict[str, Tensor]:
        run = torch.tensor([1.0, 0.0], device=kind.device, dtype=kind.dtype)
        return {name: run.expand(shape) for name, shape in shapes.items()}

    def fits(self, kind: LayerKind, tensors: Tensors) -> bool:
        return tuple(tensors["gates"].shape) == (2,)

    def folds(self, kind: LayerKind) -> bool:
        return self.other == "skip"

    def folded(self, kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
        return {}

    def instead(self, kind: LayerKind, tensors: Tensors) -> str | None:
        gates = tensors["gates"]
        return (self.shortcut or "") if self.other == "skip" and not gates.is_meta and gates[0] <= 0 else None


class _Given(nn.Module):
    """A module that returns a given output."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return self.value
