"""Recurrent layers: LSTM, GRU, RNN."""

from __future__ import annotations

from typing import Any

from torch import nn

from ._base import NONE, LayerKind, Tensors
from ._stand_in import stand_in


class Recurrent(LayerKind):
    """`nn.LSTM`, `nn.GRU`, `nn.RNN`: tasks have whole weights, with any update in them."""

    words = "recurrent layer"
    axes = (0, 1)

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        return isinstance(module, nn.RNNBase)

    def run(self, args: tuple, kwargs: dict, tensors: Tensors = NONE, training: bool = False) -> Any:
        if not tensors:
            return self.plain(*args, **kwargs)
        module: nn.RNNBase = self.module  # type: ignore[assignment]
        # Torch's own forward reads its weights from a list.
        flat = [tensors.get(name, module._parameters[name]) for name in module._flat_weights_names]
        return stand_in(module, tensors, training=training, _flat_weights=flat).forward(*args, **kwargs)
