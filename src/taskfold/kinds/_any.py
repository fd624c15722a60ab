"""Any other module."""

from __future__ import annotations

from torch import nn

from ._base import LayerKind


class AnyLayer(LayerKind):
    """A module of no known kind: its own forward runs with a task's tensors."""

    words = "module"

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        return True
