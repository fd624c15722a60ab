"""Records of a routed inventory, for the report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

DIGITS = 4
ALPHA_BINS = 40
"""Bins of the histogram of mixing weights, from 0 to 1."""
EXPERT_BINS = 60
"""Bins of the histogram of experts' weights, the same for all layers."""
KEPT = 150_000
"""The most mixing weights in a record, about a megabyte; beyond that, layers have means over their groups."""
OUTSIDE = 0.001  # share of a layer's weights outside the histograms


class Routed(Protocol):
    """The interface of a routed model; `taskfold.MultiTask` has it."""

    def routing(self, name: str) -> dict[str, Tensor]:
        """A task's mixing weights ``[groups, experts]`` by layer; empty: it is not routed."""
        ...

    def experts(self, name: str, layer: str) -> Tensor:
        """Every expert of a layer that a task routes as one flat vector ``[experts, numbers]``."""
        ...


@torch.no_grad()
def routing_record(model: Routed, tasks: Sequence[str], label: str) -> dict[str, Any]:
    """The routing of ``tasks`` over the inventory of ``model``, as JSON for the key ``routing`` of a results document.

    Each layer has the mixing weights α of every task, the cosines between experts and a histogram of the experts'
    weights; all layers together have the distances between tasks and a histogram of α. Numbers have four decimals.

    Args:
        model: a `taskfold.MultiTask`.
        tasks: at least one name, all routed over the same layers.
        label: the method's label in the report.

    Raises:
        ValueError: there are no tasks, a task is not routed or is routed over other layers, or a weight is not finite.
    """
    if not tasks:
        raise ValueError("tasks must name at least one routed task, found none")
    alphas = _alphas(model, list(tasks))
    few = sum(alpha.numel() for alpha in alphas.values()) <= KEPT
    limit = max(_limit(layer, model.experts(tasks[0], layer)) for layer in alphas)
    limit = _rounded_up(limit) if limit > 0 else 1.0
    return {
        "label": label,
        "tasks": list(tasks),
        "layers": [
            {
                "layer": layer,
                "groups": alpha.shape[1],
                "alpha": _rounded(alpha if few else alpha.mean(1, keepdim=True)),
                "similarity": _similarity(experts := model.experts(tasks[0], layer)),
                "experts": histogram(experts, -limit, limit, EXPERT_BINS),
            }
            for layer, alpha in alphas.items()
        ],
        "distances": _rounded(_distances(list(alphas.values()))),
        "alpha": histogram(torch.cat([alpha.flatten() for alpha in alphas.values()]), 0.0, 1.0, ALPHA_BINS),
    }


def histogram(values: Tensor, low: float, high: float, bins: int) -> dict[str, Any]:
    """Counts in equally wide bins; values beyond are counted in the outermost.

    >>> histogram(torch.tensor([-9.0, 0.1, 0.9, 9.0]), 0.0, 1.0, 2)
    {'low': 0.0, 'high': 1.0, 'counts': [2, 2]}
    """
    counts = torch.histc(values.detach().flatten().double().cpu().clamp(low, high), bins, low, high)
    return {"low": low, "high": high, "counts": [int(number) for number in counts]}


def _alphas(model: Routed, tasks: list[str]) -> dict[str, Tensor]:
    """Layer → ``[tasks, groups, experts]``."""
    found = [model.routing(task) for task in tasks]
    for task, routing in zip(tasks, found, strict=True):
        if not routing:
            raise ValueError(f"tasks must all be routed: {task!r} is not; leave it out or give it a routed method")
        shapes = ({layer: alpha.shape for layer, alpha in each.items()} for each in (routing, found[0]))
        if len({tuple(sorted(shape.items())) for shape in shapes}) > 1:
            remedy = "record them apart"
            raise ValueError(f"tasks must be routed over one inventory: {task!r} and {tasks[0]!r} differ; {remedy}")
    stacked = {layer: torch.stack([each[layer].detach().double().cpu() for each in found]) for layer in found[0]}
    for layer, alpha in stacked.items():
        _finite(alpha, f"routing of layer {layer!r}")
    return stacked


def _finite(values: Tensor, what: str) -> None:
    if not values.isfinite().all():
        raise ValueError(f"model must hold finite numbers; the {what} does not: a training that diverged has no record")


def _limit(layer: str, experts: Tensor) -> float:
    """A bound on the size of all but a few of the weights."""
    sizes = experts.detach().abs().flatten().float().cpu()
    _finite(sizes, f"inventory of layer {layer!r}")
    return float(sizes.kthvalue(math.ceil((1 - OUTSIDE) * len(sizes))).values)


def _rounded_up(number: float) -> float:
    """Rounded up to two digits, so that axes have round ends."""
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return float(f"{math.ceil(number / unit - 1e-9) * unit:.2g}")


def _similarity(experts: Tensor) -> list[list[float | None]]:
    flat = experts.detach().double().cpu().flatten(1)
    sizes = flat.norm(dim=1)
    cosines = (flat @ flat.T) / (sizes[:, None] * sizes).clamp_min(1e-300)
    known = (sizes > 0).tolist()
    return [
        [value if known[i] and known[j] else None for j, value in enumerate(row)]
        for i, row in enumerate(_rounded(cosines.clamp(-1, 1)))
    ]


def _distances(alphas: list[Tensor]) -> Tensor:
    """Half the sum of |α_i − α_j| over the experts, averaged over groups and layers: ``[tasks, tasks]``."""

    def pairs() -> Iterator[Tensor]:
        for alpha in alphas:
            grouped = alpha.transpose(0, 1)  # [groups, tasks, experts]
            yield torch.cdist(grouped, grouped, p=1).mean(0) / 2

    total = torch.stack(list(pairs())).mean(0).clamp(0, 1)
    return torch.maximum(total, total.T).fill_diagonal_(0)  # symmetric to the last digit


def _rounded(values: Tensor) -> list[Any]:
    return [_rounded(value) if value.dim() else round(float(value), DIGITS) for value in values]
