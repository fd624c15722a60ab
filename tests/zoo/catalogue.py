"""All networks of the zoo."""

from __future__ import annotations

from .entry import Entry


def entries() -> list[Entry]:
    """Those of timm, torchvision and transformers, by name."""
    from . import timm_networks, torchvision_networks

    found = [*timm_networks.entries(), *torchvision_networks.entries()]
    try:
        from . import transformers_networks
        found += transformers_networks.entries()
    except ImportError:
        pass
    return found
