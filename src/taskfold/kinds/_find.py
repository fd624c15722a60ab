"""Finds the kind of a module."""

from __future__ import annotations

import torch
from torch import nn

from ._any import AnyLayer
from ._attention import Attention
from ._base import LayerKind
from ._batch_norm import BatchNorm
from ._convolution import Convolution, TransposedConvolution
from ._embedding import Embedding
from ._linear import Linear, TransformersConv1D
from ._norm import Norm
from ._quantised import ActivationQuantised, DynamicQuantised, FourBit, Quantised, QuantisedEmbedding
from ._recurrent import Recurrent
from ._token_stack import TokenStack

KINDS: tuple[type[LayerKind], ...] = (
    Attention,
    Recurrent,
    DynamicQuantised,
    ActivationQuantised,
    FourBit,
    Quantised,
    QuantisedEmbedding,
    Linear,
    TransformersConv1D,
    Convolution,
    TransposedConvolution,
    Embedding,
    BatchNorm,
    Norm,
    TokenStack,
    AnyLayer,
)
"""The kinds in order of precedence."""


def kind_of(module: nn.Module) -> LayerKind:
    """The kind of a module, as a layer.

    Example:
        >>> kind_of(nn.Conv1d(2, 3, 5)).words
        'convolution'
    """
    if isinstance(module, torch.jit.ScriptModule):
        return AnyLayer(module)
    return next(kind for kind in KINDS if kind.fits(module))(module)


def replaced(module: nn.Module) -> bool:
    """Whether the `plain` of the module's kind replaces its forward."""
    return any(kind.replaces and kind.fits(module) for kind in KINDS)
