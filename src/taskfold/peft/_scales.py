"""IA3: a scale for each channel of layers' outputs and inputs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..interventions import ScaleInput
from ..methods import IA3, Method
from ._adapter import Adapter
from ._types import AdapterType, Leaves


class Ia3(AdapterType):
    """Scales on the inputs of the layers in `feedforward_modules`, and on the outputs of all others."""

    name = "IA3"
    reads = frozenset(("feedforward_modules",))
    idle = frozenset(("fan_in_fan_out", "init_ia3_weights"))

    def take(self, adapter: Adapter) -> tuple[Method, Leaves]:
        leaves: Leaves = {}
        places: Mapping[bool, list[str]] = {False: [], True: []}
        for path, found in adapter.layers("ia3_l").items():
            kind, inner = adapter.layer(path), _is_inner(adapter, path)
            channels = ScaleInput().channels(kind) if inner else kind.outputs
            if channels is None:
                raise adapter.error(f"layer {path!r} is a {kind.words}, whose input has no channels to scale")
            places[inner].append(path)
            part = "input-gain" if inner else "gain"
            leaves[path, part, "scale"] = adapter.shaped(found["ia3_l"], (channels,), f"{path}.ia3_l")
        if not leaves:
            raise adapter.error("its file holds no layer of IA3")
        outputs, inputs = tuple(places[False]) or None, tuple(places[True]) or None
        return IA3(outputs=outputs, inputs=inputs), leaves


def _is_inner(adapter: Adapter, path: str) -> bool:
    names = adapter.config.get("feedforward_modules") or []
    if isinstance(names, str):
        return re.fullmatch(names, path) is not None
    return any(path.endswith(name) for name in names)
