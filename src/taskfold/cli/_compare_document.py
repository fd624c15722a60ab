"""The results document of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..report import record
from ..train import LESS_IS_BETTER
from ._compare_rows import Row, advised, in_words, notes, table
from ._compare_runs import Bench, judged_by


def document_of(bench: Bench, rows: Sequence[Row], seconds: float) -> dict[str, Any]:
    """The report's data: runs with accuracies, or a table of scores for tasks without accuracy."""
    plan = bench.plan
    every = [task for row in rows for run in row.runs.values() for task in run.get("tasks", {}).values()]
    settings = plan.together or plan.tasks[0].train
    by = judged_by(settings, every[0]["best"]) if every else settings.select_by
    accuracy, tested = by not in LESS_IS_BETTER, all(one["tested"]["accuracy"] is not None for one in every)
    return {
        "version": 1,
        "title": plan.path.stem,
        "command": f"taskfold compare {plan.path}",
        "conclusion": in_words(advised(rows), rows, accuracy=accuracy),
        "seconds": seconds,
        "environment": record.environment(bench.loaded.network),
        "backbone": record.backbone_record(bench.loaded),
        "tasks": [task.record for task in bench.tasks],
        "runs": _runs(bench, rows) if tested else [],
        "comparisons": [
            table(rows, accuracy=accuracy, tested=tested, together=bool(plan.together)),
            *([] if tested else _scores(rows)),
            *notes(rows),
        ],
    }


def _runs(bench: Bench, rows: Sequence[Row]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for row in rows:
        common = {"method": row.name, "label": row.label, "settings": row.settings}
        for task in bench.tasks:
            for seed, run in row.runs.items():
                if "failed" in run:
                    found.append({**common, "task": task.name, "seed": seed, "failed": run["failed"]})
                    continue
                one = run["tasks"][task.name]
                metrics = {**one["tested"]["metrics"], **one["best"]}
                known = {key: one[key] for key in ("parameters", "bytes", "seconds", "curve")}
                found.append({**common, "task": task.name, "seed": seed, "metrics": _numbers(metrics), **known})
    return found


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if isinstance(value, int | float)}


def _scores(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Test scores of each task by method, means over seeds."""
    whole = [(row, [run for run in row.runs.values() if "tasks" in run]) for row in rows]
    whole = [(row, runs) for row, runs in whole if runs]
    if not whole:
        return []
    first = whole[0][1][0]["tasks"]
    places = [(name, title) for name, task in first.items() for title in task["titles"]]
    columns = []
    for name, title in places:
        better = first[name]["better"].get(title)
        best = None if better is None else "highest" if better else "lowest"
        kind = "number" if title in first[name]["plain"] else "percent"
        columns.append({"title": title, "group": name, "kind": kind, "best": best})
    cells = [
        {
            "label": row.label,
            "cells": [_mean([run["tasks"][name]["titles"].get(title) for run in runs]) for name, title in places],
        }
        for row, runs in whole
    ]
    return [{"title": "Test scores", "note": "Means over seeds.", "columns": columns, "rows": cells}]


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None
