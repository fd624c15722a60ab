"""The figures show the numbers of the document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from taskfold.report import read_results
from taskfold.report._svg import to_svg
from taskfold.report.figures import costs, curves, layers, parameters, ranks
from taskfold.report.figures._labels import spread

from .runs import document

Document = dict[str, Any]


def test_parameters_puts_each_method_at_its_size(document: Callable[..., Document]) -> None:
    figure = parameters.figure(read_results(document()))
    assert figure is not None
    sizes = sorted({float(line.get_xdata()[0]) for line in figure.axes[0].lines if len(line.get_xdata()) == 1})
    assert sizes == [12_810, 45_810, 140_810, 524_810, 3_383_818]
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert all(boxes[i].count_overlaps(boxes[:i]) == 0 for i in range(len(boxes)))


def test_curves_average_the_epochs_that_all_seeds_reached(document: Callable[..., Document]) -> None:
    results = document(tasks=("mnist",), seeds=2)
    results["runs"] = [run for run in results["runs"] if run["label"] == "FTN R=4"]
    first, second = results["runs"]
    first["curve"] = [{"epoch": 1, "val_accuracy": 0.2}, {"epoch": 2, "val_accuracy": 0.4}]
    second["curve"] = [
        {"epoch": 1, "val_accuracy": 0.4},
        {"epoch": 2, "val_accuracy": 0.8},
        {"epoch": 3, "val_accuracy": 1},
    ]
    figure = curves.figure(read_results(results))
    assert figure is not None
    (line,) = figure.axes[0].lines
    assert list(line.get_xdata()) == [1, 2]
    assert list(line.get_ydata()) == pytest.approx([30, 60])
    assert len(figure.axes) == 2
    second["curve"][1]["penalty"] = 0.5
    first["curve"][1]["penalty"] = 0.3
    figure = curves.figure(read_results(results))
    assert figure is not None
    (line,) = figure.axes[2].lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([2], pytest.approx([0.4]))


def test_layers_show_the_ftn_of_highest_rank(document: Callable[..., Document]) -> None:
    results = document()
    for run in results["runs"]:
        if run["label"] == "FTN R=16":
            run["layers"] = [{"layer": "stem", "ratio": 0.5}, {"layer": "last", "ratio": None}]
    figure = layers.figure(read_results(results))
    assert figure is not None
    image = np.ma.asarray(figure.axes[0].images[0].get_array())
    assert image[0].tolist() == [0.5, 0.5, 0.5]
    assert image.mask[1].all()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["stem", "last"]


def test_ranks_show_what_the_training_chose(document: Callable[..., Document]) -> None:
    results = document()
    assert ranks.figure(read_results(results)) is None  # one rank for all layers
    for run in results["runs"]:
        if run["label"] == "FTN R=4":
            run["settings"]["rank"] = {"*": 4}
        if run["label"] == "FTN R=16":
            run["settings"]["rank"] = {"stem": 3, "last": 0}
    figure = ranks.figure(read_results(results))
    assert figure is not None
    assert np.ma.asarray(figure.axes[0].images[0].get_array()).tolist() == [[3, 3, 3], [0, 0, 0]]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["stem", "last"]


def test_colours_become_variables_and_the_callers_settings_stay(document: Callable[..., Document]) -> None:
    before = dict(mpl.rcParams)
    figure = parameters.figure(read_results(document()))
    assert figure is not None
    svg = to_svg(figure, "parameters", 'a "title"')
    assert "var(--ftn)" in svg
    assert "var(--ink)" in svg or "var(--muted)" in svg
    assert "#0068a8" not in svg
    assert "<style" not in svg
    assert 'aria-label="a &quot;title&quot;"' in svg
    assert dict(mpl.rcParams) == before


def test_names_are_never_formulas(document: Callable[..., Document]) -> None:
    results = read_results(document(tasks=("_$x^2$", "<b>&")))
    for module in (curves, layers):
        figure = module.figure(results)
        assert figure is not None
        svg = to_svg(figure, "name", "title")
        assert ">_$x^2$</text>" in svg
        assert ">&lt;b&gt;&amp;</text>" in svg


@pytest.mark.parametrize("wanted", [[0.5] * 5, [0.0, 0.0, 1.0, 1.0], [0.1, 0.2, 0.9], [0.99] * 30, []])
def test_labels_keep_their_order_and_distance(wanted: list[float]) -> None:
    places = np.array(spread(wanted, 0.1))
    gap = min(0.1, 1 / max(len(wanted) - 1, 1))
    assert (np.diff(places) >= gap - 1e-9).all()
    assert ((places >= -1e-9) & (places <= 1 + 1e-9)).all()


def test_scores_over_costs() -> None:
    """A method without a cost is left out of that panel alone, and what costs nothing stands at 0."""
    columns: list[dict[str, Any]] = [
        {"title": "test", "kind": "percent", "axis": "score"},
        {"title": "size", "kind": "bytes", "axis": "cost"},
        {"title": "folded", "group": "ms", "axis": "cost"},
        {"title": "rates"},
    ]
    rows = [
        {"label": "head only", "cells": [0.8, 0, 2.0, None]},
        {"label": "FTN R=4", "cells": [{"mean": 0.9, "std": 0.01}, 400_000, 2.1, None]},
        {"label": "prompt", "cells": [0.85, 4_000, None, None]},
        {"label": "failed", "cells": ["failed", None, None, None]},
    ]
    table = {"title": "Side by side", "columns": columns, "rows": rows}
    results = read_results(document() | {"runs": [], "comparisons": [table]})
    figure = costs.figure(results, results.comparisons[0])
    assert figure is not None
    size, folded = figure.axes
    assert [len(panel.containers) for panel in (size, folded)] == [3, 2]
    assert [round(line.get_ydata()[0]) for line in size.lines if line.get_marker() not in ("_", "None")] == [80, 90, 85]
    figure.draw_without_rendering()
    assert size.get_xticklabels()[0].get_text() == "0"
    assert [panel.get_xlabel() for panel in (size, folded)] == ["size", "ms folded"]
    named = {text.get_text() for text in figure.legends[0].get_texts()}
    assert named == {"head only", "FTN R=4", "prompt"}
    for change in ({"first": "language"}, {"columns": [{**column, "axis": None} for column in columns]}):
        results = read_results(document() | {"runs": [], "comparisons": [table | change]})
        assert costs.figure(results, results.comparisons[0]) is None
