"""FOURIERFT: a few frequencies of each update."""

from __future__ import annotations

from ..kinds import Linear
from ..methods import FourierFT, Method
from ._adapter import Adapter
from ._types import AdapterType, Leaves


class FourierFt(AdapterType):
    """Entries of the spectrum, at places drawn from a seed."""

    name = "FOURIERFT"
    reads = frozenset(("n_frequency", "n_frequency_pattern", "scaling", "random_loc_seed", "bias", "ifft2_norm"))
    idle = frozenset(("fan_in_fan_out", "init_weights"))

    def take(self, adapter: Adapter) -> tuple[Method, Leaves]:
        if (norm := adapter.config.get("ifft2_norm", "backward")) != "backward":
            raise adapter.error(
                f"ifft2_norm={norm!r} is another transform than Taskfold's; only 'backward' is the same"
            )
        counts: dict[str, int] = {}
        leaves: Leaves = {}
        for path, found in adapter.layers("fourierft_spectrum").items():
            if not isinstance(kind := adapter.layer(path), Linear):
                raise adapter.error(f"layer {path!r} is a {kind.words}, and FOURIERFT is of linear layers")
            counts[path] = adapter.at("n_frequency_pattern", path, "n_frequency", 1000)
            spectrum = adapter.shaped(found["fourierft_spectrum"], (counts[path],), f"{path}.fourierft_spectrum")
            leaves[path, "weight", "spectrum"] = spectrum
        if not counts:
            raise adapter.error("its file holds no layer of FOURIERFT")
        scale = float(adapter.number("scaling", 150.0, whole=False))
        seed = adapter.config.get("random_loc_seed", 777)
        return FourierFT(count=counts, scale=scale, seed=seed, layers="any", targets=tuple(counts)), leaves
