"""How many numbers a method needs on a network, exactly, from the architecture alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from .layers import STATISTICS, SiteState, inventory_of, kinds_of
from .methods import Method
from .model import MultiTask
from .routing import DIAGONAL


@dataclass(frozen=True)
class Count:
    """Parameters of a method on a network; running statistics are not parameters.

    Attributes:
        backbone: the frozen network.
        per_task: `factors`, `norm` and `head` of one task, and `diagonal` where a method has diagonals.
        shared: the model's inventory, once for all tasks.
        routing: the logits of all tasks.
        adapter_total: T · (factors + norm + diagonal) + shared + routing; heads are not adapters.
        contracted: of the plain network that one task folds into, its head left out. Over-parameterised methods train
            `adapter_total` numbers and leave this many.
    """

    backbone: int
    per_task: dict[str, int]
    shared: int
    routing: int
    adapter_total: int
    contracted: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def count(backbone: nn.Module, method: Method, *, tasks: int = 1, head: int | nn.Module | None = None) -> Count:
    """Count the parameters of `tasks` tasks; works on the `meta` device, without weights.

    Args:
        backbone: any module; it is not changed (but frozen).
        method: the method.
        tasks: T ≥ 1.
        head: outputs of each task's linear head, or any module; None: no head.

    Raises:
        ValueError: tasks < 1, or the method finds nothing to adapt.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 16, 3, bias=False), nn.BatchNorm2d(16))
        >>> tfold.count(net, tfold.FTN(rank=1), tasks=2).as_json()  # doctest: +NORMALIZE_WHITESPACE
        {'backbone': 1400, 'per_task': {'factors': 33, 'norm': 32, 'head': 0}, 'shared': 0, 'routing': 0,
         'adapter_total': 130, 'contracted': 1400}
    """
    if tasks < 1:
        raise ValueError(f"tasks must be ≥ 1, found {tasks}")
    model = MultiTask(backbone, method)
    own = model.add_task("one", head).counts()
    kinds, leaves = kinds_of(model["one"]), inventory_of(model["one"])
    shared = sum(leaf.numel() for key, leaf in leaves.items() if kinds[key] != STATISTICS)
    routing = tasks * own["routing"]
    per_task = {kind: own[kind] for kind in ("factors", "norm", "head", DIAGONAL) if kind in own}
    total = tasks * (sum(per_task.values()) - per_task["head"]) + shared + routing
    plain = sum(p.numel() for p in backbone.parameters())
    contracted = plain + _biases(model)
    return Count(plain, per_task, shared, routing, total, contracted)


def _biases(model: MultiTask) -> int:
    """Numbers that folding adds to the architecture."""
    found = 0
    for path, state in model["one"].sites._modules.items():
        if isinstance(state, SiteState) and state.branches is not None:
            conv = model.backbone.get_submodule(path)
            assert isinstance(conv, nn.Conv2d)
            found += conv.out_channels if conv.bias is None else 0
    return found
