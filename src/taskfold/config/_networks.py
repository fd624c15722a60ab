"""Networks for dense prediction from their settings, every one checked against what the architecture says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError

from ._errors import Place, problems, unknown
from ._method import settings_model

if TYPE_CHECKING:
    from ..dense.networks import Architecture, DenseNetwork

WEIGHTS = "weights"
"""The setting that may be a path."""
PACKAGED = "packaged"
"""What it may be else."""


def architectures() -> Mapping[str, type[Architecture]]:
    """All architectures by name."""
    from ..dense.networks import NETWORKS  # noqa: PLC0415  an extra, and seconds to import

    return NETWORKS


def network_names() -> tuple[str, ...]:
    """All architectures; none if what they need is not installed."""
    try:
        return tuple(architectures())
    except ImportError:
        return ()


def try_network(name: Any, settings: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """All that is wrong with a network's name and settings, but for files of weights."""
    try:
        known = architectures()
    except ImportError as error:
        return [(("network",), str(error))]
    if name not in known:
        return [(("network",), unknown(name, known, f"network {name!r}"))]
    model = settings_model(known[name], name)
    try:
        model.model_validate(dict(settings))
        known[name](**{key: value for key, value in settings.items() if key != WEIGHTS})
    except ValidationError as error:
        return problems(error, dict(settings), model)
    except (ValueError, ImportError) as error:
        return [((), str(error))]
    return []


def build(name: str, settings: Mapping[str, Any], seed: int, base: Path, meta: bool) -> DenseNetwork:
    """The network.

    Args:
        name: one of `network_names`.
        settings: of the architecture.
        seed: of what is random in it; the global generators stay as they are.
        base: folder that a path of weights counts from.
        meta: the architecture alone, without weights.
    """
    said = dict(settings)
    if meta:
        said.pop(WEIGHTS, None)
    elif isinstance(said.get(WEIGHTS), str) and said[WEIGHTS] != PACKAGED:
        said[WEIGHTS] = str(base / Path(said[WEIGHTS]).expanduser())
    chosen = architectures()[name](**said)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if meta:
            with torch.device("meta"):
                return chosen.build()
        return chosen.build()
