"""A bottleneck beside a normalisation and what comes behind it, in a block that holds both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from ..kinds import LayerKind, stand_in
from ._adapter import Adapter
from ._base import Call, Layer


@dataclass(frozen=True)
class Across(Adapter):
    """An `Adapter` at a block: it sees what the block's normalisation sees, and is added to what the block puts out.

    In a block that ends in x + F(norm(x)) it so stands beside norm and F, on the residual stream x itself.

    Args:
        activation, scale: as for `Adapter`.
        norm: the block's child that normalises.
        then: the block's child that has to run after it.

    Raises:
        ValueError: when it runs, the block does not call the two in this order.
    """

    name: ClassVar[str] = "across"
    depth: ClassVar[int] = 0
    norm: str = ""
    then: str = ""

    def _over(self, added: Callable[[Tensor, Tensor], Tensor], call: Call, args: tuple, kwargs: dict) -> Any:
        if not isinstance(call, Layer):
            raise TypeError(f"{type(call).__name__}: an adapter across a block stands inside everything else")
        seen: list[Tensor] = []
        block = call.kind.module
        children = dict(block._modules)
        children[self.norm] = _heard(block.get_submodule(self.norm), seen.append)
        children[self.then] = _heard(block.get_submodule(self.then), lambda _: self._check(seen, call.path))
        twin = stand_in(block, {}, _modules=children)
        output = replace(call, kind=call.kind.at(twin), rows=None)(*args, **kwargs)
        self._check(seen, call.path)
        y: Tensor = output[0] if isinstance(output, (tuple, list)) else output
        return self._added_to(output, added, seen[0].reshape(y.shape))  # some lay positions out in another way inside

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
    """The same module, which tells what it is given."""

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        tell(x)
        return module.forward(x, *args, **kwargs)

    return stand_in(module, {}, forward=forward)
