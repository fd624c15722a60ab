"""From records of single trainings to the results document that a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from taskfold.dense import Kind
from taskfold.report import record
from taskfold.report.dense_record import legend_record, scene_record, view_record

from ._dense_plan import SINGLE
from ._dense_stages import DenseBench
from ._records import Document, Record, failures, grouped, measured, series_of

LEFT_OUT = {"within_22.5"}
"""A table has room for so much."""
FRACTIONS = {"miou", "pixel_accuracy", "relative", "within_11.25", "within_30"}


def dense_document(
    bench: DenseBench, records: Sequence[Record], *, title: str, command: str, seconds: float | None = None
) -> Document:
    """The results document of `taskfold.report` that `DenseBench.run` has recorded.

    Args:
        bench: that ran them.
        records: of `DenseBench.run`; what failed is listed.
        title: of the report.
        command: shown in the report.
        seconds: of all of it.
    """
    done = [run for run in records if "failed" not in run]
    plan, samples = bench.plan, bench.samples
    sizes = {"train": len(samples.train), "val": len(samples.val), "test": len(bench.test)}
    document: Document = {
        "version": 1,
        "title": title,
        "command": command,
        "seconds": seconds,
        "environment": record.environment(nn.Module())
        | {"epochs": plan.epochs, "batch_size": plan.batch_size, "seeds": len({run["seed"] for run in done})},
        "backbone": {"name": plan.network, "parameters": max((r["parameters"]["contracted"] for r in done), default=1)},
        "tasks": [{"name": task, "source": "rooms, rendered", **sizes} for task in bench.kinds],
        "comparisons": [score_table(bench, done), cost_table(done)],
        "studies": [curve_study(done)],
    }
    if failed := [run for run in records if "failed" in run]:
        document["comparisons"].append(failures(failed))
    if any(run["label"] == SINGLE for run in done):
        document["gains"] = [gains(bench, records)]
    if any(run.get("pictures") for run in done):
        document["scenes"] = [scenes(bench, done)]
    return document


def delta_m(bench: DenseBench, run: Record, single: Record) -> tuple[dict[str, float], float]:
    """A run's gain over the single-task networks of its seed, in %: by task, and the mean."""
    by_task = {
        task: bench.protocol.only([task]).delta_m({task: run["scores"][task]}, {task: single["scores"][task]})
        for task in bench.kinds
    }
    return by_task, bench.protocol.delta_m(run["scores"], single["scores"])


def gains(bench: DenseBench, records: Sequence[Record]) -> Document:
    """Δm of every method and seed."""
    singles = {run["seed"]: run for run in records if run["label"] == SINGLE and "failed" not in run}
    rows = []
    for label, runs in grouped(records).items():
        if label == SINGLE:
            continue
        found = []
        for run in runs:
            if "failed" in run:
                found.append({"seed": run["seed"], "failed": run["failed"]})
            elif run["seed"] in singles:
                found.append({"seed": run["seed"], "gains": delta_m(bench, run, singles[run["seed"]])[0]})
        if found:
            rows.append({"label": label, "runs": found})
    note = (
        "On the test rooms, ±(M − M_single) / M_single of mIoU, root mean square error of depth and mean angle of "
        "normals. Single-task networks have the same architecture, epochs and seed."
    )
    if any(one.warm_up for one in bench.plan.contenders):
        note += " Before its epochs, iterative training has one in which only the diagonals train."
    return {"single": SINGLE, "tasks": list(bench.kinds), "rows": rows, "note": note}


def score_table(bench: DenseBench, records: Sequence[Record]) -> Document:
    """All scores on the test rooms."""
    columns: list[Document] = []
    singles = {run["seed"]: run for run in records if run["label"] == SINGLE}
    if singles:
        columns.append({"title": "Δm", "kind": "gain", "best": "highest", "main": True})
    for task, kind in bench.kinds.items():
        for score in _scores(kind):
            columns.append(
                {
                    "title": kind.titles[score],
                    "group": task,
                    "kind": "percent" if score in FRACTIONS else "number",
                    "best": "highest" if kind.higher_is_better[score] else "lowest",
                    "main": score == kind.main,
                }
            )
    rows = []
    for label, runs in grouped(records).items():
        cells: list[Any] = []
        if singles:
            pairs = [(run, singles[run["seed"]]) for run in runs if run["seed"] in singles and label != SINGLE]
            cells.append(measured(delta_m(bench, *pair)[1] for pair in pairs) if pairs else None)
        for task, kind in bench.kinds.items():
            cells += [measured(run["scores"][task][score] for run in runs) for score in _scores(kind)]
        rows.append({"label": label, "cells": cells})
    return {"title": "Scores on the test rooms", "columns": columns, "rows": rows}


def _scores(kind: Kind) -> list[str]:
    return [score for score in kind.higher_is_better if score not in LEFT_OUT]


def cost_table(records: Sequence[Record]) -> Document:
    """What was trained, what is left of it, and how exact that is."""
    columns = [
        {"title": "in training", "group": "parameters", "kind": "count"},
        {"title": "contracted", "group": "parameters", "kind": "count"},
        {"title": "largest difference after folding"},
        {"title": "validation loss", "kind": "number", "best": "lowest"},
        {"title": "seconds", "kind": "seconds"},
    ]
    rows = []
    for label, runs in grouped(records).items():
        counted = runs[0]["parameters"]
        difference = max(value for run in runs for value in run["contraction"].values())
        cells = [
            {"mean": counted["training"]},
            {"mean": counted["contracted"]},
            f"{difference:.0e}" if difference else "0",
            measured(run["training"]["val_loss"] for run in runs),
            measured(run["seconds"] for run in runs),
        ]
        rows.append({"label": label, "cells": cells})
    note = (
        "In training: all tasks and heads. Contracted: the plain network of one task, its head left out. The "
        "difference is between the outputs of a task and of the plain network it folds into, over 40 test images. "
        "Validation loss: of all tasks, as they are weighted."
    )
    return {"title": "What it takes", "columns": columns, "rows": rows, "note": note}


def curve_study(records: Sequence[Record]) -> Document:
    """Validation loss against epochs; tasks that were trained apart, added up."""
    series = []
    for label, runs in grouped(records).items():
        curves = [_whole_curve(run["training"]["parts"]) for run in runs]
        length = min(len(curve) for curve in curves)
        if length:
            series.append(
                series_of(label, range(1, length + 1), [measured(c[n] for c in curves) for n in range(length)])
            )
    note = "Sum over the tasks; the band is one standard deviation over seeds."
    return {"title": "Validation loss by method", "x": "epoch", "y": "validation loss", "note": note, "series": series}


def _whole_curve(parts: Sequence[Mapping[str, Any]]) -> list[float]:
    """Tasks that are there already add what they have."""
    curves = [[point["val_loss"] * len(part["tasks"]) for point in part["curve"]] for part in parts if part["curve"]]
    there = sum(part["val_loss"] for part in parts if not part["curve"])
    return [there + sum(values) for values in zip(*curves, strict=False)]


def scenes(bench: DenseBench, records: Sequence[Record]) -> Document:
    """Test rooms, their targets, and what each method of the first seed says."""
    shown = {run["label"]: run["pictures"] for run in records if run.get("pictures")}
    maps: dict[str, list[Any]] = {task: [] for task in bench.kinds}
    images = []
    for place, index in enumerate(bench.shown):
        sample, views = bench.test[index], []
        for task, kind in bench.kinds.items():
            said = {label: pictures[place][task] for label, pictures in shown.items()}
            maps[task] += [sample.targets[task], *said.values()]
            views.append(view_record(task, kind, sample.targets[task], said))
        images.append(scene_record(f"room {index}", bench.test.image(sample.image), views))
    legends = [legend_record(task, kind, maps[task]) for task, kind in bench.kinds.items()]
    return {"title": "Test rooms", "methods": list(shown), "legends": legends, "images": images}
