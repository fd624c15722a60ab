"""Combinations of tasks: sums of their changes, with the rules TIES and DARE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..layers import parts_of
from ..methods import HeadOnly, LoRA, Method
from ..peft import AdapterError, LowRankUpdate, low_rank_of
from ..tasks import Task
from ._folding import changed_tensors

Rule = Literal["linear", "ties", "dare", "dare-ties"]
Vectors = Sequence[Mapping[str, Tensor]]
"""Each task's differences from the backbone's tensors, by name; unchanged tensors are left out."""


def check_combination(
    tasks: Mapping[str, float] | Sequence[str], rule: Rule, density: float | None, seed: int
) -> dict[str, float]:
    """Checks the arguments, and returns the weight of each task.

    Raises:
        TypeError: `tasks` is empty or holds no names.
        ValueError: a weight is no finite number, the rule is unknown, or density or seed do not fit it.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"rule={rule!r} is not known; choose one of {', '.join(get_args(Rule))}")
    if isinstance(tasks, str) or not isinstance(tasks, (Mapping, Sequence)) or not tasks:
        raise TypeError(f"tasks must be names of tasks, or weights by name, and at least one, found {tasks!r}")
    if not isinstance(tasks, Mapping):
        if twice := [name for n, name in enumerate(tasks) if name in tasks[:n]]:
            raise ValueError(
                f"tasks must name each task once, found {twice[0]!r} twice; give weights: {{name: weight}}"
            )
        tasks = dict.fromkeys(tasks, 1.0 if "ties" in rule else 1 / len(tasks))
    for name, weight in tasks.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not abs(weight) < float("inf"):
            raise ValueError(f"the weight of task {name!r} must be a finite number, found {weight!r}")
    if (
        (density is None) != (rule == "linear")
        or isinstance(density, bool)
        or not (density is None or 0 < density <= 1)
    ):
        raise ValueError(
            f"density must be above 0 and at most 1 for 'ties' and 'dare', and left out for 'linear', found "
            f"{density!r} for {rule!r}"
        )
    if not isinstance(seed, int) or isinstance(seed, bool) or (seed and not rule.startswith("dare")):
        raise ValueError(
            f"seed must be a whole number, and left out for what draws nothing, found {seed!r} for {rule!r}"
        )
    return dict(tasks)


def ties(vectors: Vectors, density: float) -> dict[str, Tensor]:
    """TIES (Yadav et al. 2023, section 3): trim each vector to its largest numbers, elect signs, and take means.

    Args:
        vectors: the tasks' weighted vectors.
        density: share of each vector's numbers that is kept.

    Returns:
        At each place, the mean of the kept numbers whose sign is that of the sum.
    """
    kept = [_trimmed(vector, density) for vector in vectors]
    found = {}
    for name in _names(kept):
        each = _stacked(kept, name)
        agree = (each.sign() == each.sum(0).sign()) & (each != 0)
        found[name] = torch.where(agree, each, 0.0).sum(0) / agree.sum(0).clamp_min(1)
    return found


def dare(vectors: Vectors, density: float, seed: int) -> list[dict[str, Tensor]]:
    """DARE (Yu et al. 2024, section 3): drop numbers at random, and scale the rest by 1/density.

    Args:
        vectors: of each task.
        density: share of the numbers that is kept.
        seed: of the draw.
    """
    draw = torch.Generator().manual_seed(seed)
    return [
        {
            name: one * (torch.rand(one.shape, generator=draw) < density).to(one) / density
            for name, one in vector.items()
        }
        for vector in vectors
    ]


def summed(vectors: Vectors) -> dict[str, Tensor]:
    """The sum of weighted vectors."""
    return {name: _stacked(vectors, name).sum(0) for name in _names(vectors)}


@torch.no_grad()
def combined(
    network: nn.Module, tasks: Sequence[Task], weights: Sequence[float], rule: Rule, density: float, seed: int
) -> tuple[Method, dict[str, Tensor]]:
    """The method of the combination, and its tensors: `<layer>:up`, `<layer>:down`, others by the network's names.

    Raises:
        ValueError: a task does more than change tensors, or running variances would become negative.
    """
    weighted = list(zip(tasks, weights, strict=True))
    if rule == "linear" and (low := _low_rank(network, weighted)) is not None:
        return low
    state = network.state_dict()
    changed = [changed_tensors(network, task) for task in tasks]
    if new := [name for one in changed for name in one if name not in state]:
        raise ValueError(f"the tasks have {new[0]!r}, which the backbone has not: they can't be combined")
    whole = [
        {name: tensor - state[name] for name, tensor in one.items() if tensor.is_floating_point()} for one in changed
    ]
    thin = dare(whole, density, seed) if rule.startswith("dare") else whole
    vectors = [_times(vector, weight) for vector, weight in zip(thin, weights, strict=True)]
    own = _onto(state, ties(vectors, 1.0 if rule == "dare-ties" else density) if "ties" in rule else summed(vectors))
    return HeadOnly(own=tuple(own) or None), own


def fill(task: Task, tensors: Mapping[str, Tensor]) -> Task:
    """Copies tensors into a task's own leaves: `<layer>:<leaf>` of updates, others by the network's names."""
    for (path, part), held in parts_of(task):
        between = "." if part.endswith(":own") else ":"
        for leaf, live in held.own.held().items():
            live.data.copy_(tensors[f"{path}{between}{leaf}" if path else leaf])
    return task


def _low_rank(network: nn.Module, weighted: Sequence[tuple[Task, float]]) -> tuple[Method, dict[str, Tensor]] | None:
    """The sum of low-rank updates, of the sum of their ranks; None: a task has other changes."""
    updates: dict[str, list[LowRankUpdate]] = {}
    vectors: list[dict[str, Tensor]] = []
    state = network.state_dict()
    for task, weight in weighted:
        try:
            mine, own = low_rank_of(task, network)
        except AdapterError:
            return None
        if any(one.magnitude is not None for one in mine.values()):
            return None
        for path, one in mine.items():
            updates.setdefault(path, []).append(one.times(weight))
        vectors.append(
            _times({name: one - state[name] for name, one in own.items() if one.is_floating_point()}, weight)
        )
    if not updates:
        return None
    found: dict[str, Tensor] = {}
    for path, each in updates.items():
        found[f"{path}:up"] = torch.cat([one.up for one in each], 1)
        found[f"{path}:down"] = torch.cat([one.down for one in each])
    own = _onto(state, summed(vectors))
    ranks = {path: len(found[f"{path}:down"]) for path in updates}
    return LoRA(rank=ranks, layers="any", targets=tuple(ranks), own=tuple(own) or None), {**found, **own}


def _onto(state: Mapping[str, Tensor], vector: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {name: state[name] + tensor for name, tensor in vector.items()}
    for name, tensor in found.items():
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise ValueError(f"{name!r} would have negative variances; give weights that sum to 1 and are none below 0")
    return found


def _times(vector: Mapping[str, Tensor], weight: float) -> dict[str, Tensor]:
    return {name: tensor * weight for name, tensor in vector.items()}


def _names(vectors: Vectors) -> list[str]:
    return list(dict.fromkeys(name for vector in vectors for name in vector))


def _stacked(vectors: Vectors, name: str) -> Tensor:
    like = next(vector[name] for vector in vectors if name in vector)
    return torch.stack([vector.get(name, torch.zeros_like(like)) for vector in vectors])


def _trimmed(vector: Mapping[str, Tensor], density: float) -> dict[str, Tensor]:
    """A vector with all but its largest numbers set to zero."""
    sizes = torch.cat([tensor.flatten().abs() for tensor in vector.values()]) if vector else torch.zeros(1)
    least = sizes.topk(max(1, round(density * len(sizes)))).values[-1]
    return {name: torch.where(tensor.abs() >= least, tensor, 0.0) for name, tensor in vector.items()}
