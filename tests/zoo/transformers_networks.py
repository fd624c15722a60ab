"""Networks of transformers: a class, a small configuration, and inputs."""

from __future__ import annotations

from functools import partial
from typing import Any

import transformers
from torch import nn

from . import transformers_text, transformers_tower
from .entry import Entry

TABLES = transformers_text.TABLE | transformers_tower.TABLE


def built(model: str, settings: dict[str, Any]) -> nn.Module:
    """A network with random weights; `config` names its class of settings, and a dict in them a class of its own."""
    settings = dict(settings)
    config = configuration(settings.pop("config", None) or default(model), settings)
    config._attn_implementation = "eager"
    return getattr(transformers, model)(config)


def configuration(name: str, settings: dict[str, Any]) -> Any:
    """Settings by the name of their class; the settings of a part stay a dict."""
    return getattr(transformers, name)(**settings)


def default(model: str) -> str:
    """The class of settings of a network."""
    return getattr(transformers, model).config_class.__name__


def entries() -> list[Entry]:
    """All of them."""
    return [
        Entry(f"transformers/{model}", family, partial(built, model, settings), inputs)
        for model, (family, settings, inputs) in TABLES.items()
    ]
