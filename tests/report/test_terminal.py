"""The table in the terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console

from taskfold.report import read_results, summary_table
from taskfold.report._table import build, cost_columns, mean_column, task_columns

Document = dict[str, Any]


def _print(document: Document, width: int = 100) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(summary_table(document))
    return file.getvalue()


def test_plain_text_counts_the_seeds(document: Callable[..., Document]) -> None:
    text = _print(document())
    assert "\x1b" not in text
    (ftn,) = (line for line in text.splitlines() if "FTN R=4" in line)
    assert [part.strip() for part in ftn.split("  ") if part.strip()][5:7] == ["128 k", "563 kB"]
    assert "3.8 %" in text
    assert text.count("n=1") == 5 * 4
    assert "n=1" not in _print(document(seeds=2))


def test_failed_runs_are_shown(document: Callable[..., Document]) -> None:
    partly, wholly = document(seeds=2), document()
    for results in (partly, wholly):
        results["runs"][0].update(failed="out of memory", metrics={})
    assert "1 of 2 failed" in " ".join(_print(partly, 140).split())
    (line,) = (line for line in _print(wholly, 140).splitlines() if line.lstrip().startswith("head only"))
    assert line.split()[2] == "failed"
    assert "2 of 3 tasks" in _print(wholly, 140)


def test_markup_in_names_is_text(document: Callable[..., Document]) -> None:
    assert "[red]x[/]" in _print(document(tasks=("[red]x[/]",)))


def test_twenty_tasks_fit(document: Callable[..., Document]) -> None:
    text = _print(document(tasks=tuple(f"customer-{index:02}" for index in range(20))))
    assert "weakest task" in text
    assert max(map(len, text.splitlines())) <= 100
    assert "customer-14" in text


def test_best_is_highest_accuracy_and_lowest_cost_as_printed(
    document: Callable[..., Document],
) -> None:
    results = document(tasks=("mnist", "digits"))
    for run in results["runs"]:
        tuned = run["label"] in {"FTN R=16", "fine-tuning"}
        run["metrics"]["test_accuracy"] = 0.95001 if run["label"] == "FTN R=16" else 0.95 if tuned else 0.9
        if run["label"] == "FTN R=1" and run["task"] == "mnist":
            run.update(failed="out of memory", metrics={})
        elif run["label"] == "FTN R=1":
            run["metrics"]["test_accuracy"] = 0.99
    checked = read_results(results)
    table = build(checked, (*task_columns(checked), mean_column(checked), *cost_columns(checked)))
    best = {title: [] for title in table.titles}
    for row, cells in table.rows:
        for title, cell in zip(table.titles, cells, strict=True):
            best[title] += [row.label] if cell.best else []
    assert best["mnist"] == ["FTN R=16", "fine-tuning"]
    assert best["digits"] == ["FTN R=1"]
    assert best["mean"] == ["FTN R=16", "fine-tuning"]  # FTN R=1 lacks a task
    assert best["params"] == best["bytes"] == ["head only"]
    assert best["head"] == []  # all the same
