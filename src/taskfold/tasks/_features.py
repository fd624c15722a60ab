"""From a backbone's output to the features of heads."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..refusals import UnfitError

Features = Callable[[object], Tensor]


def pooled(output: object) -> Tensor:
    """The features in a backbone's output: a tensor itself, or a Hugging Face model's `pooler_output`, `[B, F]`.

    Those of its convolutional models are `[B, F, 1, 1]`.

    Raises:
        TypeError: the output holds neither; a `features` function is needed.
    """
    if isinstance(output, Tensor):
        return output
    found = getattr(output, "pooler_output", None)
    if isinstance(found, Tensor):
        return found.flatten(1) if found.dim() > 2 and set(found.shape[2:]) == {1} else found
    raise UnfitError(
        f"the backbone returned {type(output).__name__}, which holds no pooled features; give MultiTask "
        "features=lambda output: …, such as output.last_hidden_state.mean(1)"
    )


def feature_width(network: nn.Module) -> int:
    """The number of features that a backbone states (timm's `num_features`, Hugging Face's `hidden_size`).

    Raises:
        ValueError: it states none.
    """
    config = getattr(network, "config", None)
    for owner in (network, config):
        for name in ("head_hidden_size", "num_features", "hidden_size", "d_model"):
            width = getattr(owner, name, None)
            if isinstance(width, int) and width > 0:
                return width
    for name in ("neck_hidden_sizes", "hidden_sizes"):  # a neck follows the last stage
        if sizes := getattr(config, name, None):
            return int(sizes[-1])
    raise ValueError(
        f"{type(network).__name__} does not say how many features it returns; give MultiTask num_features=…, "
        "or a module as the head"
    )
