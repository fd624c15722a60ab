"""All networks of the zoo."""

from __future__ import annotations

from . import timm_networks, torchvision_networks, transformers_networks
from .entry import Entry


def entries() -> list[Entry]:
    """Those of timm, torchvision and transformers."""
    return [*transformers_networks.entries(), *torchvision_networks.entries(), *timm_networks.entries()]
