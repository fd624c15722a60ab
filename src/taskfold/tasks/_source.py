"""The source of a network: its specification, weights and preprocessing, for its tasks' files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

_PREPROCESSING = ("input_size", "mean", "std", "interpolation")
_loaded: WeakKeyDictionary[nn.Module, dict[str, Any]] = WeakKeyDictionary()


def note_source(
    network: nn.Module, source: str, weights: str | Path | None, preprocessing: Mapping[str, Any] | None
) -> None:
    """Record how a network was loaded; task files keep no folder of this machine.

    Args:
        network: the loaded network.
        source: its specification, `timm:resnet18`.
        weights: `published`, a local file, or None: random, or made by the user's own code.
        preprocessing: its inputs' preprocessing, as far as known.
    """
    kept = {"source": _without_folder(source), "weights": weights and Path(weights).name}
    _loaded[network] = kept | ({"preprocessing": _plain(preprocessing)} if preprocessing else {})


def source_of(network: nn.Module) -> dict[str, Any]:
    """The recorded source of a network: `source`, `weights` and `preprocessing`, JSON; empty: unknown.

    For a network that `taskfold.backbones` has not loaded, it is timm's or transformers' record, which does not say
    whether the weights are the published ones.

    Example:
        >>> source_of(nn.Linear(2, 2))
        {}
    """
    if (known := _loaded.get(network)) is not None:
        return dict(known)
    config = getattr(network, "pretrained_cfg", None)
    if isinstance(config, Mapping) and config.get("architecture"):
        name = ".".join(filter(None, [config["architecture"], config.get("tag")]))
        return {"source": f"timm:{name}", "preprocessing": _plain(config)}
    name = getattr(getattr(network, "config", None), "_name_or_path", None)
    return {"source": _without_folder(f"hf:{name}")} if isinstance(name, str) and name else {}


def _plain(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: preprocessing[key] for key in _PREPROCESSING if preprocessing.get(key)}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def _without_folder(source: str) -> str:
    """A local file or folder as its bare name."""
    scheme, colon, name = source.partition(":")
    if colon and (os.path.isabs(name) or Path(name).is_dir()):
        return f"{scheme}:{Path(name).name}"
    return f"{Path(scheme).name}:{name}" if scheme.endswith(".py") else source
