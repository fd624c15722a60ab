"""Counts the multiply-adds of a forward pass, from the architecture alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .methods import HeadOnly, Method
from .model import MultiTask
from .tasks import Features


def _product(added: Sequence[int], left: Sequence[int], right: Sequence[int], *_: object, **__: object) -> int:
    """Floating-point operations of a matrix product, or of a batch of them, from shapes."""
    return 2 * prod(left) * right[-1]


_IN_PLACE = {torch.ops.aten.addmm_: _product, torch.ops.aten.baddbmm_: _product}
"""Products that torch's counter only has in the form with a new result tensor."""


@dataclass(frozen=True)
class MultiplyAdds:
    """The multiply-adds of a forward pass; one is a product and its addition, two floating-point operations.

    Convolutions, matrix products and the two products of attention count, by torch's own counter.
    Elementwise work (biases, normalisation, activations, scales, masks) does not.

    Attributes:
        backbone: the plain network, without a head.
        unfolded: the network with an unfolded task, its head included.
        folded: the plain network that the task folds into, with the head; None: the method's tasks do not fold.
    """

    backbone: int
    unfolded: int
    folded: int | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def multiply_adds(
    backbone: nn.Module,
    method: Method,
    *inputs: Any,
    head: int | nn.Module | None = None,
    features: Features | None = None,
    num_features: int | None = None,
    **named: Any,
) -> MultiplyAdds:
    """Count the multiply-adds of one task's forward pass; works on the `meta` device, without weights.

    How Taskfold runs an update (beside the layer, or added to its weight first) depends on the inputs' size: give a
    batch of the wanted size. The count is for the whole batch.

    Args:
        backbone: any module, on the inputs' device; it is frozen, and not changed otherwise.
        method: the method.
        inputs, named: the backbone's arguments, batch first.
        head: the number of outputs of the task's linear head, or any module; None: no head.
        features, num_features: as for `MultiTask`.

    Raises:
        ValueError: the method finds nothing to adapt, or there is a head and the width of the features is unknown.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16))
        >>> found = tfold.multiply_adds(net, tfold.LoRA(rank=2, layers="linear"), torch.empty(1, 64))
        >>> found.backbone, found.unfolded - found.backbone, found.folded  # 64·32 + 32·16; 2 (64 + 32 + 32 + 16)
        (2560, 288, 2560)
    """
    with torch.no_grad():
        plain = counted(lambda: backbone.eval()(*inputs, **named))
        made = MultiTask(backbone, method, features=features, num_features=num_features).eval()
        made.add_task("one", head)
        unfolded = _of_task(made, inputs, named)
        if not made.foldable("one"):
            return MultiplyAdds(plain, unfolded, None)
        if head is None:
            return MultiplyAdds(plain, unfolded, plain)
        # A folded task is a network of the backbone's own architecture, and the head.
        bare = MultiTask(backbone, HeadOnly(), features=features, num_features=num_features).eval()
        bare.add_task("one", head)
        return MultiplyAdds(plain, unfolded, _of_task(bare, inputs, named))


def _of_task(model: MultiTask, inputs: tuple[Any, ...], named: dict[str, Any]) -> int:
    model(*inputs, task="one", **named)  # the first pass also looks at the network
    return counted(lambda: model(*inputs, task="one", **named))


def counted(call: Callable[[], object]) -> int:
    """The multiply-adds of everything that a call does, as in `MultiplyAdds`."""
    counter = FlopCounterMode(display=False, custom_mapping=_IN_PLACE)
    with counter:
        call()
    return counter.get_total_flops() // 2
