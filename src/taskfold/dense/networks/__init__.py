"""Networks for dense prediction: one file per architecture, one line here."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ._base import Architecture, DenseNetwork
from ._deeplab import DeepLab
from ._model import dense_model
from ._segnet import SegNet

NETWORKS: Mapping[str, type[Architecture]] = MappingProxyType({kind.name: kind for kind in (SegNet, DeepLab)})
"""All architectures by name."""


def build_network(name: str, settings: Mapping[str, Any] | None = None) -> DenseNetwork:
    """A new network, initialised from torch's global generator.

    Args:
        name: one of `NETWORKS`.
        settings: the architecture's settings, as JSON values; others have their defaults.

    Raises:
        ValueError: there is no such network or setting, or a setting is out of range.
        FileNotFoundError: a file that a setting names is missing.
        ImportError: a package is not installed.

    Example:
        >>> build_network("segnet", {"width": 16}).settings
        {'width': 16, 'stages': 5}
    """
    if name not in NETWORKS:
        raise ValueError(f"network {name!r} is not known; there is {_listed(name, NETWORKS)}")
    known = [field.name for field in dataclasses.fields(NETWORKS[name])]
    for key in settings or {}:
        if key not in known:
            raise ValueError(f"network {name!r} has no setting {key!r}; settings: {_listed(key, known)}")
    return NETWORKS[name](**(settings or {})).build()


def _listed(found: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(found, known := list(known), 1)
    return ", ".join(known) + (f"; did you mean {near[0]!r}?" if near else "")


__all__ = ["NETWORKS", "Architecture", "DeepLab", "DenseNetwork", "SegNet", "build_network", "dense_model"]
