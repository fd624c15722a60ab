"""The figure of a comparison: shares beside numbers of parameters."""

from __future__ import annotations

from typing import Any

import pytest

from taskfold.report.schema import Comparison, Results
from taskfold_demos.figures import comparison

COLUMNS = [
    {"title": "exact match, 32 examples", "kind": "percent"},
    {"title": "exact match, 128 examples", "kind": "percent"},
    {"title": "rank, 32 examples", "kind": "percent"},
    {"title": "numbers", "kind": "count"},
]
ROWS = [
    {"label": "Poly · z", "cells": [{"mean": 0.25, "std": 0.02, "n": 3}, {"mean": 0.3}, None, {"mean": 432}]},
    {"label": "Poly · all", "cells": [{"mean": 0.5}, None, None, {"mean": 60_000}]},
    {"label": "copying", "cells": [{"mean": 0.1}, None, None, None]},
    {"label": "LoRA", "cells": [{"mean": 0.4}, None, {"mean": 0.9}, {"mean": 70_000}]},
]


def shown(**changes: Any) -> tuple[Results, Comparison]:
    table = {"title": "New languages", "columns": COLUMNS, "rows": ROWS} | changes
    backbone = {"name": "t5", "parameters": 1_000_000, "bytes": 4_000_000}
    results = Results.model_validate(
        {"version": 1, "title": "t", "backbone": backbone, "tasks": [{"name": "a"}], "comparisons": [table]}
    )
    return results, results.comparisons[0]


def test_every_row_has_its_dots_and_its_size() -> None:
    drawing = comparison.figure(*shown())
    assert drawing is not None
    (axes,) = drawing.axes
    dots = [(bar.lines[0].get_xdata()[0], round(float(bar.lines[0].get_ydata()[0]))) for bar in axes.containers]
    assert dots == [(25, 0), (30, 0), (50, 1), (10, 2), (40, 3)]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [row["label"] for row in ROWS]
    assert [text.get_text() for text in axes.texts] == ["432", "60 k", "", "70 k", "numbers"]
    assert axes.get_xlabel() == "exact match (%): ● 32 examples, ○ 128 examples"
    (spread,) = [bar for bar in axes.containers if bar.has_xerr]
    assert spread.lines[2][0].get_segments()[0][:, 0] == pytest.approx([23, 27])


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": [*COLUMNS[:3], {"title": "numbers", "kind": "number"}]},
        {"first": "language"},
        {"rows": ROWS[:1]},
    ],
)
def test_there_is_none_without_both_columns_of_two_methods(changes: dict[str, Any]) -> None:
    assert comparison.figure(*shown(**changes)) is None
