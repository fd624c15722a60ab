"""The recipe of sparse updates of a whole network: FISH Mask (Sung, Nair and Raffel 2021)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..factors import Group, Indices, Leaf, check_number
from ..interventions import entries_of
from ..kinds import LayerKind, Tensors
from ..tasks import Leaves, Task
from ._everywhere import Everywhere, NetworkWide, Span
from ._part import Part, When, parts_of

ENTRIES = Group("factors", 3e-4)
INDICES = Group("indices", 0.0)


class Sparse(Everywhere):
    """θ + δ at some places.

    Args:
        own: the leaves `places`, ascending indices through all parameters of the network, and `values` (δ).
        spans: of the layer's parameters.
    """

    def __init__(self, own: Leaves, spans: Mapping[str, Span]) -> None:
        super().__init__(own, spans)
        self.probes: dict[int, Tensor] = {}

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        if self.probes or kind.normalises:
            return super().tensors(kind, changed, when)
        found: dict[str, Tensor] = {}
        for name, span in self.spans.items():
            places, values = self._entries(span)
            if len(places):
                found |= entries_of(name, places, values.to(kind.tensors()[name].dtype))
        return found

    def added(self, span: Span, own: Tensor) -> Tensor | None:
        places, values = self._entries(span)
        probe = self.probes.get(span.number)
        if not len(places):
            return None if probe is None else own + probe
        found = own.flatten().index_add(0, places, values.to(own.dtype)).reshape(span.shape)
        return found if probe is None else found + probe

    def _entries(self, span: Span) -> tuple[Tensor, Tensor]:
        """The places within a parameter, and the values there."""
        places, values = self.own["places"], self.own["values"]
        if places.is_meta:
            return places[:0], values[:0]
        if torch.compiler.is_compiling():  # sizes may not depend on numbers: entries elsewhere add 0 to the first place
            inside = (places >= span.start) & (places < span.start + span.size)
            return torch.where(inside, places - span.start, 0), torch.where(inside, values, 0.0)
        ends = torch.tensor([span.start, span.start + span.size], device=places.device)
        first, last = torch.searchsorted(places, ends).tolist()
        return places[first:last] - span.start, values[first:last]


@dataclass(frozen=True)
class SparseUpdates(NetworkWide):
    """Sparse updates of the same size for every task; until they are chosen, places lie evenly over all parameters.

    Args:
        share: of the network's numbers that are updated; 0 < share ≤ 1, rounded down.

    Raises:
        ValueError: the share is out of its range; when a task is added, it is less than one number.
    """

    share: float = 0.002

    def __post_init__(self) -> None:
        check_number("share", self.share, "above 0, at most 1", lambda share: 0 < share <= 1)

    def leaves(self, spans: Sequence[Span]) -> dict[str, Leaf]:
        numbers = sum(span.size for span in spans)
        count = int(self.share * numbers)
        if not count:
            raise ValueError(f"share={self.share} of {numbers} numbers is less than one; raise it")
        places = Leaf((count,), ("place",), partial(_evenly, numbers), INDICES, "model", Indices(numbers), torch.int64)
        return {"places": places, "values": Leaf((count,), ("place",), nn.init.zeros_, ENTRIES, "model")}

    def part(self, own: Leaves, spans: Mapping[str, Span], every: Sequence[Span]) -> Part:
        return Sparse(own, spans)


def _evenly(numbers: int, places: Tensor) -> None:
    places.copy_(torch.arange(len(places), device=places.device) * numbers // len(places))


def choose_by_fisher(
    task: Task, batches: Iterable[Any], score: Callable[[Any], Tensor], samples: int | None = None
) -> int:
    """Moves a task's places to the largest Fisher information, Σ (∂L/∂θ)² over single samples.

    A task whose values have been trained keeps its places.

    Args:
        task: with sparse updates.
        batches: of its data.
        score: batch → `[n]`, the losses of its samples, with gradients.
        samples: the most samples to use; None: all.

    Returns:
        The number of samples used.

    Raises:
        ValueError: there is no sample, or its gradients are all zero or not finite.
    """
    parts = [part for _, part in parts_of(task) if isinstance(part, Sparse)]
    places, values = parts[0].own["places"], parts[0].own["values"]
    if bool(values.any()):
        return 0
    with _probing(parts) as probes:
        fisher = {number: torch.zeros_like(probe) for number, probe in probes.items()}
        seen = 0
        for loss, last in _one_by_one(batches, score, samples):
            found = torch.autograd.grad(loss, [*probes.values()], retain_graph=not last, allow_unused=True)
            for total, gradient in zip(fisher.values(), found, strict=True):
                if gradient is not None:
                    total += gradient.square()
            seen += 1
    if not seen:
        raise ValueError(
            f"the Fisher pass of task {task.name!r} found no sample with a target for it; give it training data"
        )
    starts = {span.number: span.start for part in parts for span in part.spans.values()}
    with torch.no_grad():
        places.copy_(_largest(fisher, starts, len(places), task.name))
    return seen


@contextmanager
def _probing(parts: Sequence[Sparse]) -> Iterator[dict[int, Tensor]]:
    """Run a block with zeros added to every parameter; their gradients are the parameters'."""
    spans = {span.number: span for part in parts for span in part.spans.values()}
    like = parts[0].own["values"]
    probes = {number: like.new_zeros(span.shape, requires_grad=True) for number, span in sorted(spans.items())}
    try:
        for part in parts:
            part.probes = probes
        yield probes
    finally:
        for part in parts:
            part.probes = {}


def _one_by_one(
    batches: Iterable[Any], score: Callable[[Any], Tensor], samples: int | None
) -> Iterator[tuple[Tensor, bool]]:
    """The loss of each sample, and whether it is the last of its batch."""
    left = float("inf") if samples is None else samples
    for batch in batches:
        losses = score(batch)
        losses = losses[: int(min(left, len(losses)))]
        for n, loss in enumerate(losses):
            yield loss, n + 1 == len(losses)
        left -= len(losses)
        if left <= 0:
            return


def _largest(fisher: Mapping[int, Tensor], starts: Mapping[int, int], count: int, name: str) -> Tensor:
    """The places of the `count` largest numbers, ascending; of equal numbers the first."""
    every = torch.cat([tensor.flatten() for tensor in fisher.values()])
    if not bool(every.isfinite().all()) or not bool(every.any()):
        what = "not finite" if bool(every.any()) else "zero everywhere"
        raise ValueError(f"the Fisher information of task {name!r} is {what}; see to its loss and its data")
    numbers = torch.cat([torch.arange(t.numel(), device=t.device) + starts[number] for number, t in fisher.items()])
    bound = every.topk(min(count, len(every))).values[-1]
    above, equal = (every > bound).nonzero().flatten(), (every == bound).nonzero().flatten()
    chosen = torch.cat([above, equal[: count - len(above)]])
    return numbers[chosen].sort().values
