"""Kinds of layers, one file for each: a kind knows its layer's tensors, and runs the layer with other ones."""

from ._any import AnyLayer
from ._attention import UNITS, Attention
from ._base import SEEN, LayerKind, Tensors, may_write, traced
from ._batch_norm import BatchNorm, OneValueError, check_values
from ._convolution import Convolution, TransposedConvolution
from ._embedding import Embedding
from ._find import KINDS, kind_of, replaced
from ._geometry import Geometry, differentiable
from ._linear import Linear, TransformersConv1D
from ._norm import is_norm
from ._patterns import Patterns, matches
from ._quantised import NUMBERS, FourBit, Quantised
from ._recurrent import Recurrent
from ._rows import Groups, Rows
from ._stand_in import lend, lent, stand_in
from ._thin import outer, plus_, thin
from ._token_stack import TokenStack
from ._weight import WeightKind

__all__ = [
    "KINDS",
    "NUMBERS",
    "SEEN",
    "UNITS",
    "AnyLayer",
    "Attention",
    "BatchNorm",
    "Convolution",
    "Embedding",
    "FourBit",
    "Geometry",
    "Groups",
    "LayerKind",
    "Linear",
    "OneValueError",
    "Patterns",
    "Quantised",
    "Recurrent",
    "Rows",
    "Tensors",
    "TokenStack",
    "TransformersConv1D",
    "TransposedConvolution",
    "WeightKind",
    "check_values",
    "differentiable",
    "is_norm",
    "kind_of",
    "lend",
    "lent",
    "matches",
    "may_write",
    "outer",
    "plus_",
    "replaced",
    "stand_in",
    "thin",
    "traced",
]
