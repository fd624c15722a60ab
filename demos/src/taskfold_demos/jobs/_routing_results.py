"""From records of single trainings to the results document that a report is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from taskfold.backbones import LoadedBackbone
from taskfold.report import record

from ._records import Document, Record, failures, grouped, measured, series_of
from ._routing_plan import RoutingPlan

STANDARD = {"tensor_rank": 8, "order": 2}
WAYS = {
    "all": "all",
    "mu": "mu",
    "z": "z",
    "random-mu": "random-mu",
    "continue": "continued",
    "scratch": "from scratch",
}


def routing_document(
    plan: RoutingPlan,
    records: Sequence[Record],
    baselines: Sequence[Record],
    sizes: Sequence[Record],
    variants: Sequence[Record],
    loaded: LoadedBackbone,
    *,
    command: str,
    seconds: float | None = None,
) -> Document:
    """The results document of `taskfold.report` that `Bench.run` has recorded.

    Args:
        plan: what was compared.
        records: of `Bench.run`; what failed is listed in a table of its own.
        baselines: of `Bench.baselines`.
        sizes: records of one method at several tensor ranks and orders; may be empty.
        variants: records of methods with one thing changed; may be empty.
        loaded: the backbone.
        command: shown in the report.
        seconds: of all of it.
    """
    done = [run for run in records if "failed" not in run]
    comparisons = [transfer_table(done, baselines), together_table(done)]
    comparisons += [language_table(plan.held_out, done, baselines, shots) for shots in plan.shots]
    if variants:
        comparisons.append(variant_table([run for run in records if run["seed"] == plan.seeds[0]], variants))
    if failed := [run for run in records if "failed" in run]:
        comparisons.append(failures(failed))
    studies = [loss_study(done)]
    for key, title in (("tensor_rank", "tensor rank"), ("order", "order")):
        other = "order" if key == "tensor_rank" else "tensor_rank"
        standard = [run for run in sizes if run["settings"][other] == STANDARD[other]]
        if len({run["settings"][key] for run in standard}) > 1:
            studies += size_study(standard, key, title)
    return {
        "version": 1,
        "title": f"{len(plan.held_out)} new languages from an inventory that {len(plan.training)} others share",
        "command": command,
        "seconds": seconds,
        "environment": record.environment(loaded.network)
        | {
            "steps_together": plan.together.steps,
            "steps_transfer": plan.transfer.steps,
            "seeds": len({r["seed"] for r in done}),
        },
        "backbone": record.backbone_record(loaded),
        "tasks": [
            {"name": name, "source": "simplemma, training language", "train": plan.train, "val": plan.val}
            for name in plan.training
        ]
        + [
            {
                "name": name,
                "source": "simplemma, held out",
                "train": max(plan.shots),
                "val": plan.val,
                "test": plan.test,
                "notes": ["few-shot sets of " + " and ".join(map(str, plan.shots)) + " words, by seed"],
            }
            for name in plan.held_out
        ],
        "isolation": [_unmoved(name, done, plan) for name in plan.training],
        "comparisons": comparisons,
        "studies": studies,
        "routing": [run["routing"] for run in done if "routing" in run],
    }


def together_table(records: Sequence[Record]) -> Document:
    """What joint training came to, by method."""
    columns = [
        {"title": "validation loss", "kind": "number", "best": "lowest"},
        {"title": "trained parameters", "kind": "count"},
        {"title": "of which routing", "kind": "count"},
        {"title": "seconds per step", "kind": "number"},
        {"title": "seconds", "kind": "seconds"},
    ]
    rows = []
    for label, runs in grouped(records).items():
        trained = [run["training"] for run in runs]
        counted = trained[0]["parameters"]
        cells = [
            measured(one["val_loss"] for one in trained),
            {"mean": counted["shared"] + counted["own"]},
            {"mean": counted["of_which_routing"]},
            measured(one["seconds_per_step"] for one in trained),
            measured(one["seconds"] for one in trained),
        ]
        rows.append({"label": label, "cells": cells})
    note = "The training languages together: loss per byte on words that were not trained on, best of the validations."
    return {"title": "Training together", "note": note, "columns": columns, "rows": rows}


def transfer_table(records: Sequence[Record], baselines: Sequence[Record]) -> Document:
    """Held-out languages: every method and way, by number of examples."""
    shots = sorted({one["shots"] for run in records for one in run["transfers"]})
    columns: list[Document] = []
    for title, kind in (("exact match", "percent"), ("rank classification", "percent")):
        columns += [{"title": f"{title}, {n} examples", "kind": kind, "best": "highest"} for n in shots]
    columns += [
        {"title": "parameters to adapt", "kind": "count"},
        {"title": "seconds to adapt", "kind": "number"},
    ]
    rows = [
        {"label": one["label"], "cells": [one["exact_match"]] * len(shots) + [one["rank"]] * len(shots) + [None, None]}
        for one in baselines
    ]
    for label, way, runs in _by_way(records):
        cells: list[Any] = []
        for key in ("exact_match", "rank"):
            for n in shots:
                found = [_mean(one, key) for one in runs if one["shots"] == n]
                cells.append(measured(found) if found else None)
        cells += [{"mean": runs[0]["parameters"]}, measured(one["seconds"] / len(one["languages"]) for one in runs)]
        rows.append({"label": f"{label} · {WAYS[way]}", "cells": cells})
    note = (
        "Means over the held-out languages. Parameters and seconds are of one language. all: routing and factors; "
        "mu: factors under a fixed routing; z: the routing alone; random-mu: mu after training with random routing."
    )
    return {"title": "New languages from few examples", "note": note, "columns": columns, "rows": rows}


def language_table(
    languages: Sequence[str], records: Sequence[Record], baselines: Sequence[Record], shots: int
) -> Document:
    """Exact match by held-out language."""
    ways = [(label, way, [one for one in runs if one["shots"] == shots]) for label, way, runs in _by_way(records)]
    columns = [{"title": name, "kind": "percent", "best": "highest"} for name in languages]
    rows = [
        {"label": one["label"], "cells": [one["languages"][name]["exact_match"] for name in languages]}
        for one in baselines
    ]
    rows += [
        {
            "label": f"{label} · {WAYS[way]}",
            "cells": [measured(one["languages"][name]["exact_match"] for one in runs) for name in languages],
        }
        for label, way, runs in ways
        if runs
    ]
    return {"title": f"Exact match by language, {shots} examples", "columns": columns, "rows": rows}


def variant_table(records: Sequence[Record], variants: Sequence[Record]) -> Document:
    """One thing changed, beside the methods as they are: joint training, and `all` from 32 examples."""
    columns = [
        {"title": "validation loss", "kind": "number", "best": "lowest"},
        {"title": "exact match", "kind": "percent", "best": "highest"},
        {"title": "rank classification", "kind": "percent", "best": "highest"},
    ]
    alike = {one["name"] for one in variants}
    rows = []
    whole = [one for one in records if one["name"] in alike and "all" in {each["way"] for each in one["transfers"]}]
    for run in [*whole, *variants]:
        found = next((one for one in run["transfers"] if (one["way"], one["shots"]) == ("all", 32)), None)
        measures = [found and {"mean": _mean(found, key)} for key in ("exact_match", "rank")]
        loss = run.get("training", {}).get("val_loss")
        rows.append({"label": run["label"], "cells": [loss and {"mean": loss}, *measures]})
    return {"title": "Variants, one seed, 32 examples", "columns": columns, "rows": rows}


def loss_study(records: Sequence[Record]) -> Document:
    """Validation loss of joint training against steps, by method."""
    series = []
    for label, runs in grouped(records).items():
        curves = [run["training"]["curve"] for run in runs]
        points = [measured(curve[n]["val_loss"] for curve in curves) for n in range(min(map(len, curves)))]
        series.append(series_of(label, [point["step"] for point in curves[0]], points))
    note = "Words of the training languages that were not trained on; the band is one standard deviation over seeds."
    return {"title": "Validation loss by method", "x": "step", "y": "loss per byte", "note": note, "series": series}


def size_study(records: Sequence[Record], key: str, title: str) -> list[Document]:
    """Validation loss, and exact match of transfer, against one setting of TensorPoly-I."""
    ordered = sorted(records, key=lambda run: run["settings"][key])
    xs = sorted({run["settings"][key] for run in ordered})

    def line(label: str, value: Callable[[Record], float | None]) -> Document:
        by_x = [[value(run) for run in ordered if run["settings"][key] == at] for at in xs]
        points = [measured(v for v in values if v is not None) for values in by_x]
        return series_of(label, xs, points)

    def matched(way: str) -> Callable[[Record], float | None]:
        return lambda run: next(
            (_mean(one, "exact_match") for one in run["transfers"] if (one["way"], one["shots"]) == (way, 32)), None
        )

    losses = [line("TensorPoly-I", lambda run: run["training"]["val_loss"])]
    matches = [line(f"TensorPoly-I · {WAYS[way]}", matched(way)) for way in ("all", "z")]
    other = "order" if key == "tensor_rank" else "tensor_rank"
    note = f"One seed; {other.replace('_', ' ')} {STANDARD[other]}."
    shared = {"x": title, "log_x": key == "tensor_rank", "note": note}
    return [
        {"title": f"Validation loss against {title}", "y": "loss per byte", "series": losses, **shared},
        {"title": f"Exact match against {title}", "y": "exact match, 32 examples", "series": matches, **shared},
    ]


def _unmoved(name: str, records: Sequence[Record], plan: RoutingPlan) -> Document:
    before, after = (
        hashlib.sha256("".join(run["outputs"][when][name] for run in records).encode()).hexdigest()
        for when in ("before", "after")
    )
    few = len(plan.held_out)
    return {
        "task": name,
        "before": before,
        "after": after,
        "identical": before == after,
        "what": f"outputs on validation words with every method, before and after {few} new languages were learned",
    }


def _mean(transfer: Record, key: str) -> float:
    return fmean(found[key] for found in transfer["languages"].values())


def _by_way(records: Sequence[Record]) -> list[tuple[str, str, list[Record]]]:
    found: dict[tuple[str, str], list[Record]] = {}
    for run in records:
        for one in run["transfers"]:
            found.setdefault((run["label"], one["way"]), []).append(one)
    return [(label, way, runs) for (label, way), runs in found.items()]
