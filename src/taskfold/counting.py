"""Counts the numbers that a method needs on a network, exactly, from the architecture alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from .factors import STATISTICS
from .files import bits_beside
from .layers import groups_of_inventory, inventory_of, parts_of
from .methods import Method
from .model import MultiTask, counts_apart, leave_out


@dataclass(frozen=True)
class Count:
    """The parameters of a method on a network; running statistics are not parameters.

    Attributes:
        backbone: the frozen network's parameters.
        per_task: `factors`, `norm`, `head` of one task, and its other groups (`diagonal`, …). If files
            keep levels instead of values, as for a mask, `bits` counts the bits, and no group counts the numbers;
            `indices` counts the places of sparse values.
        shared: the model's inventory, once for all tasks.
        routing: the logits of all tasks.
        adapter_total: T · (all groups of a task but its head) + shared + routing, without heads, bits and indices.
        contracted: the parameters of the plain network that a task folds into, without its head; None: tasks do not
            fold. Over-parameterised methods train `adapter_total` numbers and leave this many.
        shared_bits: bits in the model's inventory besides numbers: the owners of a common weight's entries.
    """

    backbone: int
    per_task: dict[str, int]
    shared: int
    routing: int
    adapter_total: int
    contracted: int | None
    shared_bits: int = 0

    @property
    def bits(self) -> int:
        """A task's bits besides numbers: of masks, and 32 for each index of a sparse value."""
        return bits_beside(self.per_task)

    def as_json(self) -> dict[str, Any]:
        """The counts as JSON, with a task's `bits` even if 0, and `shared_bits` if there are any."""
        found = asdict(self)
        found["per_task"].setdefault("bits", 0)
        return found if self.shared_bits else {key: value for key, value in found.items() if key != "shared_bits"}


def count(backbone: nn.Module, method: Method, *, tasks: int = 1, head: int | nn.Module | None = None) -> Count:
    """Count the parameters of `tasks` tasks; works on the `meta` device, without weights.

    Args:
        backbone: any module; it is frozen, and not changed otherwise.
        method: the method.
        tasks: T ≥ 1.
        head: the number of outputs of each task's linear head, or any module; None: no head.

    Raises:
        ValueError: tasks < 1, or the method finds nothing to adapt.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 16, 3, bias=False), nn.BatchNorm2d(16))
        >>> tfold.count(net, tfold.FTN(rank=1), tasks=2).as_json()  # doctest: +NORMALIZE_WHITESPACE
        {'backbone': 1400, 'per_task': {'factors': 33, 'norm': 32, 'head': 0, 'bits': 0}, 'shared': 0, 'routing': 0,
         'adapter_total': 130, 'contracted': 1400}
    """
    if tasks < 1:
        raise ValueError(f"tasks must be ≥ 1, found {tasks}")
    model = MultiTask(backbone, method)
    own, apart = counts_apart(model.add_task("one", head))
    groups, leaves = groups_of_inventory(model["one"]), inventory_of(model["one"])
    once = {id(leaf): key for key, leaf in leaves.items() if leaf.is_floating_point() and groups[key] != STATISTICS}
    shared = sum(leaves[key].numel() for key in once.values())  # tied tensors once
    for _, part in parts_of(model["one"]):
        for name in part.passing:
            leave_out(own, part.own.groups[name].name, part.own[name].numel())
    routing = tasks * own.pop("routing")
    total = tasks * (sum(own.values()) - own["head"]) + shared + routing
    plain = sum(p.numel() for p in backbone.parameters())
    contracted = plain + _added(model) if model.foldable("one") else None
    shared_bits = sum(part.bits(tasks) for _, part in parts_of(model["one"]))
    return Count(plain, {**own, **apart}, shared, routing, total, contracted, shared_bits)


def _added(model: MultiTask) -> int:
    """Numbers that folding adds to the architecture: biases of layers without any, and weights no longer tied."""
    known = dict(model.backbone.named_parameters(remove_duplicate=False)) | dict(model.backbone.named_buffers())
    places: dict[int, set[str]] = {}
    for key, tensor in known.items():
        places.setdefault(id(tensor), set()).add(key)
    made = model.materialise("one")
    apart = {key for key in made if key in known and not places[id(known[key])] <= made.keys()}
    return sum(tensor.numel() for key, tensor in made.items() if key not in known or key in apart)
