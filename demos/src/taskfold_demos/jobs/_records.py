"""What a demonstration writes down of each training, and how that becomes parts of a results document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Any

Record = dict[str, Any]
Document = dict[str, Any]


def measured(values: Iterable[float]) -> dict[str, Any]:
    """Mean and standard deviation over seeds, as a cell."""
    found = list(values)
    return {"mean": fmean(found)} | ({"std": stdev(found), "n": len(found)} if len(found) > 1 else {})


def grouped(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records by label, in order."""
    found: dict[str, list[Record]] = {}
    for run in records:
        found.setdefault(run["label"], []).append(run)
    return found


def series_of(label: str, x: Sequence[float], points: Sequence[Document]) -> Document:
    """A line of a study, of cells that `measured` made."""
    spread = {"std": [p.get("std") for p in points]} if any("std" in p for p in points) else {}
    return {"label": label, "x": list(x), "mean": [p["mean"] for p in points], **spread}


def failures(records: Sequence[Record]) -> Document:
    """What failed, and why."""
    rows = [{"label": f"{run['label']}, seed {run['seed']}", "cells": [run["failed"]]} for run in records]
    return {"title": "Failed", "columns": ["why"], "rows": rows}
