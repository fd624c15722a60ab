"""torch's encoders put zeros at padded positions where they take their fused path; the one that tasks take does too."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from ..kinds import stand_in


class Padded:
    """The forward of an `nn.TransformerEncoder` in the skeleton, whose layers run one by one.

    Args:
        proxy: of the encoder.
        module: the user's.
    """

    def __init__(self, proxy: nn.Module, module: nn.TransformerEncoder) -> None:
        self.proxy, self.module = proxy, module

    def __call__(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        others = mask, src_key_padding_mask, is_causal
        run: Any = nn.TransformerEncoder.forward
        if src_key_padding_mask is None or torch.compiler.is_compiling() or not self._zeroes(src, *others):
            return run(self.proxy, src, *others)  # type: ignore[no-any-return]
        modules = self.proxy._modules
        y: Tensor = run(stand_in(self.proxy, {}, _modules={**modules, "norm": None}), src, *others)
        y = y.masked_fill(src_key_padding_mask.bool()[..., None], 0.0)
        norm = modules.get("norm")
        return y if norm is None else norm(y)

    def _zeroes(self, src: Tensor, mask: Tensor | None, padding: Tensor | None, is_causal: bool | None) -> bool:
        """Whether the user's own encoder would: it runs with a layer in place of its first that only looks."""
        first = self.proxy.get_submodule("layers")._modules.get("0")
        if torch.is_grad_enabled() or first is None or src.is_nested:
            return False
        src = torch.zeros((), dtype=src.dtype, device=src.device).expand(src.shape)  # of one task, where several run
        looks = _Looks(self.module.layers[0]).train(first.training)
        modules = {"layers": nn.ModuleList([looks]), "norm": None}
        twin: Any = stand_in(self.module, {}, _modules=modules)
        with torch._C.DisableTorchFunction():  # who listens to its operations keeps torch from the fused path
            nn.TransformerEncoder.forward(twin, src, mask, padding, is_causal)
        return looks.nested


class _Looks(nn.Module):
    """Sees what a layer is given."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.__dict__.update(layer=layer, nested=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["layer"], name)

    def forward(self, x: Tensor, **_: object) -> Tensor:
        self.__dict__["nested"] = x.is_nested
        return x


def pads(module: nn.Module) -> TypeGuard[nn.TransformerEncoder]:
    """Whether a module runs torch's own forward of encoders."""
    return isinstance(module, nn.TransformerEncoder) and type(module).forward is nn.TransformerEncoder.forward
