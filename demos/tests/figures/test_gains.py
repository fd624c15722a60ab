"""Gains over single-task networks: what is refused, and what figure, sentence, page and terminal say."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich.console import Console
from tests.report import dense as builder
from tests.report.dense import ALL, FAILED, METHODS, TASKS
from tests.report.page import read_page

from taskfold.dense import delta_m
from taskfold.report import Results, ResultsError, read_results, summary_table
from taskfold.report._headline import headline
from taskfold_demos.figures import gains

Document = dict[str, Any]
SEEDS = ({"a": 2.0, "b": -1.0}, {"a": 4.0, "b": 0.0}, {"a": 6.0, "b": 7.0})


def gained(seeds: int = 3) -> dict[str, Any]:
    """Gains of every method; one failed in all seeds, one in some."""
    random = np.random.default_rng(0)
    rows = []
    for place, method in enumerate(ALL):
        runs: list[dict[str, Any]] = [
            {
                "seed": seed,
                "gains": {
                    task: 0.0 if not place else round(4 - 2.5 * place + 2 * index + float(random.normal(0, 1.2)), 3)
                    for index, task in enumerate(TASKS)
                },
            }
            for seed in range(seeds)
        ]
        if method == "ExpandNet":
            runs[1] = {"seed": 1, "failed": "loss is not finite at step 120"}
        if method == FAILED:
            runs = [{"seed": seed, "failed": "out of memory"} for seed in range(seeds)]
        rows.append({"label": method, "runs": runs})
    return {"single": METHODS[0], "tasks": list(TASKS), "rows": rows}


def dense(images: int) -> Document:
    """The whole document."""
    return builder.dense(images) | {"gains": [gained()]}


def row(label: str, *runs: Any) -> Document:
    """A mapping is what a seed gained, a text why it failed."""
    shown = [{"failed": run} if isinstance(run, str) else {"gains": run} for run in runs]
    return {"label": label, "runs": [{"seed": seed} | run for seed, run in enumerate(shown)]}


def document(*rows: Document, **changes: Any) -> Document:
    part = {"tasks": ["a", "b"], "rows": list(rows)} | changes
    backbone = {"name": "SegNet", "parameters": 1000}
    return {"version": 1, "title": "t", "backbone": backbone, "tasks": [{"name": "a"}, {"name": "b"}], "gains": [part]}


def drawn(results: Results) -> Figure:
    figure = gains.figure(results, results.gains[0])  # type: ignore[attr-defined]
    assert figure is not None
    return figure


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (document(row("A", {"a": 1.0})), r"gains\[0\]: rows\[0\]\.runs\[0\]\.gains must name the tasks a, b, null"),
        (document(row("A", {"a": 1.0, "b": 2.0, "c": 3.0})), r"runs\[0\]\.gains must name .* found a, b, c"),
        (document(row("A", {})), r"rows\[0\]\.runs\[0\]: a run has either gains .* found neither"),
        (
            document({"label": "A", "runs": [{"gains": SEEDS[0], "failed": "no"}]}),
            r"rows\[0\]\.runs\[0\]: a run has either gains .* found both",
        ),
        (document(row("A", SEEDS[0]), row("A", SEEDS[1])), r"rows\[1\]\.label: 'A' is there twice"),
        (
            document({"label": "A", "runs": [{"gains": SEEDS[0]}, {"gains": SEEDS[1]}]}),
            r"rows\[0\]\.runs\[1\]: a second run of 'A' with seed 0",
        ),
        (document({"label": "A", "runs": []}), r"rows\[0\]\.runs: .* at least 1 item"),
        (document(row("A", {"a": "much", "b": 1.0})), r"runs\[0\]\.gains\.a: .* found 'much'"),
        (document(row("A", SEEDS[0]), sinlge="x"), r"gains\[0\]\.sinlge is not a key"),
        (document(row("A", SEEDS[0]), tasks=["a", "a"]), r"tasks must differ, found a, a"),
        (
            document(row("A", {"a": 1.0, "c": 2.0}), tasks=["a", "c"]),
            r"gains\[0\]: the task 'c' is not",
        ),
    ],
)
def test_errors_name_the_key_and_the_value(broken: Document, message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        read_results(broken)


def test_delta_m_is_the_one_of_dense_prediction() -> None:
    single, multi, higher = {"a": 0.4, "b": 0.5}, {"a": 0.44, "b": 0.55}, {"a": True, "b": False}
    by_task = {task: delta_m({task: multi[task]}, {task: single[task]}, {task: higher[task]}) for task in single}
    run = read_results(document(row("A", by_task))).gains[0].rows[0].runs[0]
    assert run.delta_m == pytest.approx(delta_m(multi, single, higher)) == 0.0
    assert run.gains == {"a": 10.0, "b": -10.0}


def test_bars_are_means_whiskers_one_deviation_and_dots_the_seeds() -> None:
    figure = drawn(read_results(document(row("B", {"a": -1.0, "b": -3.0}), row("A", *SEEDS))))
    delta, *tasks = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Δm (%)", "a", "b"]
    seeds = {"delta": [0.5, 2.0, 6.5], "a": [2.0, 4.0, 6.0], "b": [-1.0, 0.0, 7.0]}
    for axes, values in zip((delta, *tasks), seeds.values(), strict=True):
        alone, several = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert several.get_width() == pytest.approx(np.mean(values))
        assert several.get_y() > alone.get_y()  # below, as given
        (dots,) = [line for line in axes.lines if line.get_marker() == "o"]
        assert list(np.asarray(dots.get_xdata())) == pytest.approx(values)
        (whisker,) = [each for each in axes.collections if isinstance(each, LineCollection)]
        ends = np.asarray(whisker.get_segments())[0, :, 0]
        assert ends == pytest.approx(np.mean(values) + np.std(values, ddof=1) * np.array([-1, 1]))
        low, high = axes.get_xlim()
        assert low < min(0, *values, *ends)
        assert high > max(0, *values, *ends)
    assert tasks[0].get_xlim() == tasks[1].get_xlim()
    labels = [tick.get_text() for tick in delta.get_yticklabels()]
    assert labels == ["B\n−2.0 %", "A\n+3.0 ± 3.1 %"]


def test_failures_are_shown_not_dropped(tmp_path: Path) -> None:
    rows = (row("A", "out of memory", {"a": 1.0, "b": float("nan")}), row("B", "diverged", SEEDS[0]))
    results = document(*rows, row("C", {"a": 1.0, "b": None}))
    figure = drawn(read_results(results))
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == [
        "A\nfailed",
        "B\n+0.5 % (1 of 2)",
        "C\nnot measured",
    ]
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [["×", "–"], ["×"], ["×", "–"]]
    text = read_page(results, tmp_path).text
    for failure in ("A, seed 0: out of memory", "A, seed 1: b: not finite", "B, seed 0: diverged"):
        assert failure in text
    nothing = document(row("A", "diverged", "diverged"))
    checked = read_results(nothing)
    assert gains.figure(checked, checked.gains[0]) is None
    page = read_page(nothing, tmp_path)
    assert "Every run failed" in page.text
    assert "all 2 runs failed" in page.text


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([row("A", *SEEDS)], "A gains most, Δm +3.0 % (± 3.1 over 3 seeds)."),
        (
            [row("A", *SEEDS), row("B", {"a": 0.5, "b": 0.5})],
            "A gains most of 2 methods, Δm +3.0 % (± 3.1 over 3 seeds); "
            "next is B, +0.5 % (one seed), within one standard deviation.",
        ),
        (
            [row("A", {"a": -2.0, "b": 1.0}), row("S", {"a": 0.0, "b": 0.0}), row("B", "diverged")],
            "no method gains; A loses least, Δm −0.5 % (one seed). 1 of 3 runs failed.",
        ),
    ],
)
def test_the_sentence_on_top_says_who_gains_most(rows: list[Document], sentence: str) -> None:
    found = headline(read_results(document(*rows, single="S"))).replace("\u00a0", " ")
    assert found == f"Gain over single-task networks: {sentence}"


@pytest.mark.parametrize(("tasks", "panels"), [(1, 2), (4, 5), (6, 10)])
def test_many_tasks_make_further_rows_of_panels(tasks: int, panels: int) -> None:
    names = [f"task {index}" for index in range(tasks)]
    changed = document(row("A", dict.fromkeys(names, 1.0)), tasks=names) | {"tasks": [{"name": name} for name in names]}
    figure = drawn(read_results(changed))
    assert len(figure.axes) == panels
    assert sum(axes.get_visible() for axes in figure.axes) == 1 + tasks


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_terminal_shows_delta_m_and_the_main_scores(width: int) -> None:
    file = io.StringIO()
    results = dense(1)
    Console(file=file, width=width).print(summary_table(results))
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert text.count("Δm (%)") >= 2  # of the gains, and of the scores
    assert text.count("RepVGG") == 2
    for cells in (results["comparisons"][0]["rows"][1]["cells"], results["comparisons"][0]["rows"][8]["cells"]):
        assert f"{100 * cells[1]['mean']:.1f}" in text  # mIoU
        if width > 60:
            assert f"{cells[3]['mean']:.4f}" in text  # depth RMSE
            assert f"{100 * cells[9]['mean']:.1f}" in text  # odsF, rather than further scores of segmentation


def test_a_page_of_dense_prediction_is_complete(tmp_path: Path) -> None:
    page = read_page(dense(1), tmp_path)
    assert set(page.ids) >= {"gains-0", "comparison-0", "scenes-0", "tasks", "environment"}
    assert not {"table", "runs", "samples"} & set(page.ids)
    assert all(name in page.text for name in (*ALL, *TASKS, "In numbers", "best of its column"))
