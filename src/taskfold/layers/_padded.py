"""Zeros at padded positions, which torch's encoders write on their fused path, on the tasks' path too."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from ..kinds import stand_in


class Padded:
    """The forward of an encoder's `proxy` in the skeleton, which runs its layers one by one; `module`: the user's."""

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
        """Whether the user's encoder would write zeros: it runs with a probe in place of its first layer."""
        first = self.proxy.get_submodule("layers")._modules.get("0")
        if torch.is_grad_enabled() or first is None or src.is_nested:
            return False
        src = torch.zeros((), dtype=src.dtype, device=src.device).expand(src.shape)  # leaves a broadcast's vmap
        looks = _Looks(self.module.layers[0]).train(first.training)
        modules = {"layers": nn.ModuleList([looks]), "norm": None}
        twin: Any = stand_in(self.module, {}, _modules=modules)
        with torch._C.DisableTorchFunction():  # an active function mode would keep torch from the fused path
            nn.TransformerEncoder.forward(twin, src, mask, padding, is_causal)
        return looks.nested


class _Looks(nn.Module):
    """A probe in place of a layer, which notes whether its input is nested."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.__dict__.update(layer=layer, nested=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["layer"], name)

    def forward(self, x: Tensor, **_: object) -> Tensor:
        self.__dict__["nested"] = x.is_nested
        return x


def pads(module: nn.Module) -> TypeGuard[nn.TransformerEncoder]:
    """Whether a module runs the forward of `nn.TransformerEncoder`."""
    return isinstance(module, nn.TransformerEncoder) and type(module).forward is nn.TransformerEncoder.forward
