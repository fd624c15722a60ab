"""The kind of a module."""

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
from ._quantised import DynamicQuantised, Quantised
from ._recurrent import Recurrent
from ._token_stack import TokenStack

KINDS: tuple[type[LayerKind], ...] = (
    Attention,
    Recurrent,
    DynamicQuantised,
    Quantised,
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
"""The first that fits is the one."""


def kind_of(module: nn.Module) -> LayerKind:
    """What a module is, as a layer.

    Example:
        >>> kind_of(nn.Conv1d(2, 3, 5)).words
        'convolution'
    """
    if isinstance(module, torch.jit.ScriptModule):
        return AnyLayer(module)
    return next(kind for kind in KINDS if kind.fits(module))(module)


def replaced(module: nn.Module) -> bool:
    """Whether what a layer's kind makes of a plain pass stands in place of its forward."""
    return any(kind.replaces and kind.fits(module) for kind in KINDS)
