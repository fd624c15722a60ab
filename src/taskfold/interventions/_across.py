"""An adapter across a block, beside its normalisation and the layers behind that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from ..kinds import LayerKind, stand_in
from ..refusals import UnfitError
from ._adapter import Adapter
from ._base import Call, Layer


@dataclass(frozen=True)
class Across(Adapter):
    """An `Adapter` at a block: its input is that of the block's normalisation, and it is added to the block's output.

    In a block that ends in x + F(norm(x)) it runs beside norm and F, on the residual stream x itself.

    Args:
        activation, scale: as for `Adapter`.
        norm: the block's child that normalises.
        then: the block's child that must run after it.

    Raises:
        ValueError: in a pass, if the block does not call the two in this order.
    """

    name: ClassVar[str] = "across"
    depth: ClassVar[int] = 0
    norm: str = ""
    then: str = ""

    def _over(self, added: Callable[[Tensor, Tensor], Tensor], call: Call, args: tuple, kwargs: dict) -> Any:
        if not isinstance(call, Layer):
            raise UnfitError(f"{type(call).__name__}: an adapter across a block stands inside everything else")
        seen: list[Tensor] = []
        block = call.kind.module
        children = dict(block._modules)
        children[self.norm] = _heard(block.get_submodule(self.norm), seen.append)
        children[self.then] = _heard(block.get_submodule(self.then), lambda _: self._check(seen, call.path))
        twin = stand_in(block, {}, _modules=children)
        output = replace(call, kind=call.kind.at(twin), rows=None)(*args, **kwargs)
        self._check(seen, call.path)
        y: Tensor = output[0] if isinstance(output, (tuple, list)) else output
        return self._added_to(output, added, seen[0].reshape(y.shape))  # positions may be arranged otherwise inside

    def _check(self, seen: list[Tensor], path: str) -> None:
        if len(seen) != 1:
            raise ValueError(
                f"block {path!r} calls its {self.norm!r} {len(seen)} times before its {self.then!r}, and an adapter "
                "beside both needs it to be called once: it is for blocks that end in x + F(norm(x)); leave the block "
                "out with targets"
            )

    def channels(self, kind: LayerKind) -> tuple[int, int] | None:
        weight = getattr(kind.module.get_submodule(self.norm), "weight", None)
        return None if weight is None else (weight.numel(), weight.numel())


def _heard(module: nn.Module, tell: Callable[[Tensor], object]) -> nn.Module:
    """The module, with a forward that reports its input to `tell`."""

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        tell(x)
        return module.forward(x, *args, **kwargs)

    return stand_in(module, {}, forward=forward)
