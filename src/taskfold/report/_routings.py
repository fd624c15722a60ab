"""Routings: how tasks share an inventory of experts, as parts of a results document."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from ._parts import Count, Fraction, Name, Part

Cosine = Annotated[float, Field(ge=-1, le=1)]
SLACK = 0.02  # half-precision weights and four printed digits: rows sum to one within this


class Histogram(Part):
    """Counts in equally wide bins from ``low`` to ``high``; values beyond are counted in the outermost bins."""

    low: float
    high: float
    counts: Annotated[tuple[Count, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _ordered(self) -> Histogram:
        if not self.low < self.high:
            raise ValueError(f"low must be less than high, found {self.low} and {self.high}")
        return self


class RoutedLayer(Part):
    """One layer's inventory of S experts, with the tasks' mixing weights.

    ``alpha[task][group][expert]`` are the mixing weights, in the order of the tasks; a group sums to one. ``groups`` is
    their number in the network; ``alpha`` holds all of them or, if these are too many, their mean.
    ``similarity`` holds the cosines between the experts, null where an expert is zero; ``experts`` counts its weights.
    """

    layer: Name
    groups: Annotated[int, Field(gt=0)] = 1
    alpha: tuple[tuple[tuple[Fraction, ...], ...], ...]
    similarity: tuple[tuple[Cosine | None, ...], ...] = ()
    experts: Histogram | None = None

    @model_validator(mode="after")
    def _rectangular(self) -> RoutedLayer:
        kept, size = len(self.alpha[0]) if self.alpha else 0, self.size
        if kept not in {1, self.groups} or size == 0:
            raise ValueError(f"alpha must hold 1 or all {self.groups} groups of at least one expert, found {kept}")
        for index, groups in enumerate(self.alpha):
            if len(groups) != kept or any(len(group) != size for group in groups):
                raise ValueError(f"alpha[{index}] must hold {kept} groups of {size} experts like alpha[0]")
            for place, group in enumerate(groups):
                if abs(sum(group) - 1) > SLACK:
                    raise ValueError(f"alpha[{index}][{place}] must sum to 1, found {sum(group):.4g}")
        if any(len(row) != len(self.similarity) for row in self.similarity):
            raise ValueError(f"similarity must be square, found {[len(row) for row in self.similarity]}")
        return self

    @property
    def size(self) -> int:
        """The number of experts."""
        return len(self.alpha[0][0]) if self.alpha and self.alpha[0] else 0


class Routing(Part):
    """The routing of one method's tasks: `taskfold.report.record.routing_record` writes it.

    ``distances[i][j]``, between 0 and 1, is the distance between two tasks: half the sum of |α_i − α_j|, averaged
    over groups and layers. ``alpha`` counts all the mixing weights.
    """

    label: Name
    tasks: Annotated[tuple[Name, ...], Field(min_length=1)]
    layers: Annotated[tuple[RoutedLayer, ...], Field(min_length=1)]
    distances: tuple[tuple[Fraction, ...], ...]
    alpha: Histogram | None = None

    @model_validator(mode="after")
    def _by_task(self) -> Routing:
        total = len(self.tasks)
        if len(set(self.tasks)) < total:
            raise ValueError(f"tasks must differ, found {', '.join(self.tasks)}")
        names = [layer.layer for layer in self.layers]
        for index, layer in enumerate(self.layers):
            if layer.layer in names[:index]:
                raise ValueError(f"layers[{index}].layer: {layer.layer!r} is there twice; names must differ")
            if len(layer.alpha) != total:
                found = f"found {len(layer.alpha)} for {total} tasks"
                raise ValueError(f"layers[{index}].alpha must hold one entry for each task, {found}")
        if len(self.distances) != total or any(len(row) != total for row in self.distances):
            raise ValueError(f"distances must hold {total} × {total} numbers, one for each pair of tasks")
        for i, row in enumerate(self.distances):
            for j, distance in enumerate(row):
                if distance != (0 if i == j else self.distances[j][i]):
                    raise ValueError(f"distances[{i}][{j}] must be 0 on the diagonal and symmetric, found {distance}")
        return self
