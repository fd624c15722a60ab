"""Affinities between tasks, as a part of a results document."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ._parts import Name, Part

Matrix = tuple[tuple[float, ...], ...]


class AffinityMatrix(Part):
    """A measure: ``mean[i][j]`` is the effect of a step for task i on task j, ``half`` half its interval's width."""

    measure: Literal["linear", "lookahead", "cosine"]
    mean: Matrix
    half: Matrix


class AffinityMap(Part):
    """Affinities between tasks: `taskfold.report.affinity_record` writes it.

    ``groups`` are those of the training, or the proposed ones; tasks are in their order.
    """

    label: Name
    tasks: Annotated[tuple[Name, ...], Field(min_length=2)]
    steps: Annotated[int, Field(gt=0)]
    measurements: Annotated[int, Field(gt=0)]
    groups: tuple[tuple[Name, ...], ...]
    matrices: Annotated[tuple[AffinityMatrix, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _by_task(self) -> AffinityMap:
        total = len(self.tasks)
        for index, one in enumerate(self.matrices):
            for key, matrix in (("mean", one.mean), ("half", one.half)):
                if len(matrix) != total or any(len(row) != total for row in matrix):
                    raise ValueError(f"matrices[{index}].{key} must hold {total} × {total} numbers, one for each pair")
        if sorted(self.tasks) != sorted(name for group in self.groups for name in group):
            raise ValueError(f"groups must hold each task once ({', '.join(self.tasks)}), found {list(self.groups)}")
        return self
