"""Modules that read their children's weights without calling them: each is one layer."""

from __future__ import annotations

from torch import Tensor, nn

from ._base import LayerKind


class Attention(LayerKind):
    """`nn.MultiheadAttention` with the output projection inside it."""

    words = "attention unit"
    whole = frozenset({"attn_mask"})

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        return isinstance(module, nn.MultiheadAttention)

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.module.named_parameters())

    def check_rows(self, kwargs: dict, layer: str) -> None:
        mask = kwargs.get("attn_mask")
        if not self.module.batch_first or (isinstance(mask, Tensor) and mask.dim() == 3):
            raise ValueError(
                f"layer {layer!r} cannot serve a mixed batch: it needs batch_first=True and no attention mask per "
                "row; build it so, or run one task at a time"
            )


UNITS = (nn.MultiheadAttention,)
