"""The request to a scheme, and its result."""

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
"""How a language model generates: from an encoded source, or by continuing its input."""


class BackboneError(ValueError):
    """A backbone cannot be loaded: the message has the specification, the value found and the remedy."""


@dataclass(frozen=True)
class Request:
    """A backbone to build.

    Attributes:
        name: the part after the scheme: `resnet50` in `timm:resnet50`.
        weights: a local file of weights.
        pretrained: without a file, use the published weights; False: random ones.
        meta: the architecture only, on the `meta` device, without weights.
        base: the folder that relative paths start from.
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
    """A network without a classifier, but with its language head if it generates text; and its properties.

    Attributes:
        network: in evaluation mode.
        name: the specification.
        num_features: the width of its features; None: unknown.
        preprocessing: `input_size`, `mean`, `std`, `interpolation` as far as known, for
            `taskfold.data.Preprocessing.from_config`; None: unknown.
        features: the network's output → features, for `MultiTask`; None: the output is the features.
        tokenizer: a function that makes the tokenizer of a text model; None: unknown.
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
"""A function for one kind of specification that makes a network from a request."""


def extra(module: str, name: str) -> Any:
    """An optional package.

    Raises:
        ImportError: it is not installed; the message has the extra to install.
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
    except (NotImplementedError, RuntimeError):  # some networks compute with numbers while they are built
        return build().to("meta")


def cannot_fetch(spec: str, error: Exception) -> BackboneError:
    """The error for published weights that cannot be loaded."""
    return BackboneError(
        f"backbone {spec!r}: its published weights cannot be fetched ({why(error)}); "
        "give a local file as weights, or pretrained: false (in Python, pretrained=False) for random ones"
    )
