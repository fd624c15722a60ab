"""Units: modules that read their children's weights without calling them, so that each is one layer."""

from __future__ import annotations

from torch import Tensor, nn

from ._base import LayerKind


class Attention(LayerKind):
    """`nn.MultiheadAttention` with the output projection inside it."""

    words = "attention unit"

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        return isinstance(module, nn.MultiheadAttention)

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.module.named_parameters())


UNITS = (nn.MultiheadAttention,)
