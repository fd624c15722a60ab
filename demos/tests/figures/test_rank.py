"""Accuracy against rank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.report.page import read_page
from tests.report.runs import document

from taskfold.report import read_results
from taskfold.report._svg import to_svg
from taskfold_demos.figures import rank


def test_rank_draws_every_task_the_mean_and_the_references() -> None:
    figure = rank.figure(read_results(document()))
    assert figure is not None
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert sorted(texts) == ["FTN mean", "animals", "digits", "fine-tuning", "head only", "mnist"]
    assert list(axes.xaxis.get_majorticklocs()) == [1, 4, 16]
    mean = next(line for line in axes.lines if line.get_linewidth() == 2.5)
    accuracies = [run["metrics"]["test_accuracy"] for run in document()["runs"] if run["label"] == "FTN R=4"]
    assert mean.get_ydata()[1] == pytest.approx(100 * np.mean(accuracies))


def test_names_are_never_formulas() -> None:
    figure = rank.figure(read_results(document(tasks=("_$x^2$", "<b>&"))))
    assert figure is not None
    svg = to_svg(figure, "name", "title")
    assert ">_$x^2$</text>" in svg
    assert ">&lt;b&gt;&amp;</text>" in svg


def test_it_is_the_first_figure_of_a_page_and_left_out_without_ranks(tmp_path: Path) -> None:
    results = document()
    shown = [name for name in read_page(results, tmp_path).ids if name in {"rank", "parameters", "curves"}]
    assert shown == ["rank", "parameters", "curves"]
    results["runs"] = [run for run in results["runs"] if run["method"] != "ftn"]
    assert "rank" not in read_page(results, tmp_path).ids
