"""The figure of a comparison: shares against numbers of parameters."""

from __future__ import annotations

from typing import Any

import pytest

from taskfold.report.figures import comparison
from taskfold.report.schema import Comparison, Results

COLUMNS = [{"title": "exact match", "kind": "percent"}, {"title": "numbers", "kind": "count"}]
ROWS = [
    {"label": "Poly · z", "cells": [{"mean": 0.25, "std": 0.02, "n": 3}, {"mean": 432}]},
    {"label": "Poly · all", "cells": [{"mean": 0.5}, {"mean": 60_000}]},
    {"label": "copying", "cells": [{"mean": 0.1}, None]},
    {"label": "LoRA", "cells": [{"mean": 0.4}, {"mean": 70_000}]},
]


def shown(**changes: Any) -> tuple[Results, Comparison]:
    table = {"title": "New languages", "columns": COLUMNS, "rows": ROWS} | changes
    backbone = {"name": "t5", "parameters": 1_000_000, "bytes": 4_000_000}
    results = Results.model_validate(
        {"version": 1, "title": "t", "backbone": backbone, "tasks": [{"name": "a"}], "comparisons": [table]}
    )
    return results, results.comparisons[0]


def test_every_row_with_both_is_a_point_at_its_place() -> None:
    drawing = comparison.figure(*shown())
    assert drawing is not None
    (axes,) = drawing.axes
    points = {tuple(bar.lines[0].get_xydata()[0]) for bar in axes.containers}
    assert points == {(432, 25), (60_000, 50), (70_000, 40)}
    assert {text.get_text() for text in axes.texts} == {"Poly · z", "Poly · all", "LoRA"}
    joined = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"]
    assert [list(line.get_xdata()) for line in joined if line.get_alpha() == 0.6] == [[432, 60_000]]
    assert axes.get_xlabel() == "numbers (logarithmic)"


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": [COLUMNS[0], {"title": "numbers", "kind": "number"}]},
        {"first": "language"},
        {"rows": ROWS[:1]},
    ],
)
def test_there_is_none_without_both_columns_of_two_methods(changes: dict[str, Any]) -> None:
    assert comparison.figure(*shown(**changes)) is None
