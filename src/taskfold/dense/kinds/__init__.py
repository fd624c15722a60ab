"""Kinds of dense task: one file per kind, one line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ._base import Kind, Picture
from ._depth import Depth
from ._edges import Edges
from ._normals import Normals
from ._segmentation import Segmentation

KINDS: Mapping[str, type[Kind]] = MappingProxyType({kind.name: kind for kind in (Segmentation, Depth, Normals, Edges)})
"""All kinds by name."""

__all__ = ["KINDS", "Depth", "Edges", "Kind", "Normals", "Picture", "Segmentation"]
