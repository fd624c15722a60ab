"""From a Hugging Face model's output to a head's features."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..refusals import UnfitError
from ._loaded import Generative

Pooling = Callable[[object], Tensor]


def pooling(network: nn.Module, generative: Generative | None, pooler: bool) -> Pooling:
    """The function that makes this network's features; `pooler`: whether its pooler's weights, if any, were trained."""
    if generative is not None:
        return {"encoder-decoder": encoder_mean, "causal": last_token}[generative]
    if pooler and getattr(network, "pooler", None) is not None:
        return from_pooler
    return first_token if any(name.endswith("cls_token") for name, _ in network.named_parameters()) else mean


def from_pooler(output: object) -> Tensor:
    """`pooler_output`, flat."""
    return output.pooler_output.flatten(1)  # type: ignore[attr-defined]


def first_token(output: object) -> Tensor:
    """The class token of `last_hidden_state`."""
    return output.last_hidden_state[:, 0]  # type: ignore[attr-defined]


def mean(output: object) -> Tensor:
    """The mean of `last_hidden_state` over all positions: `[B, positions, F]` or `[B, F, H, W]`."""
    hidden: Tensor = output.last_hidden_state  # type: ignore[attr-defined]
    return hidden.mean((2, 3)) if hidden.dim() == 4 else hidden.mean(1)


def encoder_mean(output: object) -> Tensor:
    """The mean of an encoder-decoder's encoder over all positions."""
    return output.encoder_last_hidden_state.mean(1)  # type: ignore[attr-defined]


def last_token(output: object) -> Tensor:
    """The last position of the last layer of a decoder (pad on the left).

    Raises:
        TypeError: the output has no hidden states.
    """
    hidden = getattr(output, "hidden_states", None)
    if hidden is None:
        raise UnfitError(
            "a head on a language model needs its hidden states: call the model with output_hidden_states=True, "
            "or add the task without a head"
        )
    return hidden[-1][:, -1]
