"""What is asked of a scheme, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..reach import why

Generative = Literal["encoder-decoder", "causal"]
"""How a language model generates: from an encoded source, or by going on with its input."""


class BackboneError(ValueError):
    """A backbone that cannot be loaded: the message names the specification, what was found and the remedy."""


@dataclass(frozen=True)
class Request:
    """A backbone to build.

    Attributes:
        name: what stands behind the scheme: `resnet50` in `timm:resnet50`.
        weights: a local file to take the weights from.
        pretrained: without a file, take the weights that were published; else random ones.
        meta: the architecture alone, on the `meta` device, without weights.
        base: folder that relative paths count from.
    """

    name: str
    weights: Path | None = None
    pretrained: bool = True
    meta: bool = False
    base: Path = Path()

    @property
    def published(self) -> bool:
        """Whether published weights are wanted."""
        return self.pretrained and self.weights is None and not self.meta


@dataclass(frozen=True)
class LoadedBackbone:
    """A network without a classifier, but with its language head if it generates text; and what is known about it.

    Attributes:
        network: in evaluation mode.
        name: the specification.
        num_features: width of its features; None: not known.
        preprocessing: `input_size`, `mean`, `std`, `interpolation` as far as known, for
            `taskfold.data.Preprocessing.from_config`; None: nothing is known.
        features: the network's output → features, for `MultiTask`; None: the output is the features.
        tokenizer: makes the tokenizer that belongs to a model of text, when it is called; None: not known.
        generative: `encoder-decoder` or `causal` for a language model that generates; None: it does not.
    """

    network: nn.Module
    name: str = ""
    num_features: int | None = None
    preprocessing: dict[str, Any] | None = None
    features: Callable[[object], Tensor] | None = None
    tokenizer: Callable[[], Any] | None = None
    generative: Generative | None = None


Scheme = Callable[[Request], LoadedBackbone]
"""How one kind of specification becomes a network."""


def extra(module: str, name: str) -> Any:
    """An optional package.

    Raises:
        ImportError: it is not installed; says which extra to install.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ImportError(f'this backbone needs {module}: pip install "taskfold[{name}]"') from error


def construct(build: Callable[[], Any], meta: bool) -> Any:
    """`build()`, on the meta device if `meta`."""
    if not meta:
        return build()
    try:
        with torch.device("meta"):
            return build()
    except (NotImplementedError, RuntimeError):  # some networks look at numbers while they are built
        return build().to("meta")


def cannot_fetch(spec: str, error: Exception) -> BackboneError:
    """Published weights that could not be had."""
    return BackboneError(
        f"backbone {spec!r}: its published weights cannot be fetched ({why(error)}); "
        "give a local file as weights, or pretrained: false (in Python, pretrained=False) for random ones"
    )
