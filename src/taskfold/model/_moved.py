"""Explains errors of a backbone that user code has moved or cast without its model."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from ..layers import Form, odds_in

_OF_TYPES = re.compile("dtype|data ?type|scalar type|type of|device")


def moved(
    backbone: nn.Module, forms: Mapping[str, Form], held: Mapping[str, Tensor], error: RuntimeError
) -> str | None:
    """The message for an error that a moved or cast backbone causes; None: the error has another cause.

    Args:
        backbone: the network.
        forms: of the layers that the pass's tasks adapt, by path.
        held: the tasks' tensors, by name.
        error: of the pass.
    """
    for words in odds_in(backbone, forms).values():  # a layer got a tensor of another size
        return words
    own = next((p for p in backbone.parameters() if p.is_floating_point()), None)
    if own is None or not _OF_TYPES.search(str(error)):
        return None
    for name, tensor in held.items():
        for what, theirs, mine in (("type", own.dtype, tensor.dtype), ("device", own.device, tensor.device)):
            if tensor.is_floating_point() and theirs != mine:
                return (
                    f"the backbone's {what} is {theirs}, and that of a task's {name!r} is {mine}: the backbone was "
                    "moved or cast by itself; do it to the model: model.to(…), model.half(), model.double()"
                )
    return None
