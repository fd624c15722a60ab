"""LN_TUNING: copies of whole layers, usually of normalisation."""

from __future__ import annotations

from ..methods import HeadOnly, Method
from ._adapter import Adapter
from ._types import AdapterType, Leaves


class LnTuning(AdapterType):
    """Copies of layers, stored like whole modules saved beside any adapter."""

    name = "LN_TUNING"
    reads = frozenset[str]()
    idle = frozenset[str]()

    def take(self, adapter: Adapter) -> tuple[Method, Leaves]:
        adapter.tensors = {name.replace(".ln_tuning_layers.", "."): one for name, one in adapter.tensors.items()}
        return HeadOnly(), {}
