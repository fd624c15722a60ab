"""Documents without single runs: the page, the terminal, the first sentence."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from taskfold.plugins import REPORT, registered
from taskfold.report import read_results, summary_table
from taskfold.report._comparison import tabulate
from taskfold.report._headline import headline
from taskfold.report._marks import page_marks, study_marks
from taskfold.report.schema import Comparison

from .languages import LANGUAGES, METHODS, languages
from .page import read_page

Document = dict[str, Any]
METHODS_SCORED = (("A", 0.5), ("B", 0.6))


@pytest.fixture(name="results", scope="module")
def _results() -> Document:
    return languages(groups=2, experts=4, blocks=2)


def _print(document: Document, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(summary_table(document))
    return file.getvalue()


def _comparison(column: dict[str, Any], cells: list[Any]) -> Comparison:
    rows = [{"label": f"row {index}", "cells": [cell]} for index, cell in enumerate(cells)]
    return Comparison.model_validate({"title": "t", "columns": [column], "rows": rows})


def test_a_page_without_runs_is_complete(results: Document, tmp_path: Path) -> None:
    page = read_page(results, tmp_path)
    figures = {f"routing-0-{name}" for name in ("weights", "overview", "tree", "similarity", "distributions")}
    sections = {"comparison-0", "comparison-1", "study-0", "study-1", "routing-0", "tasks", "environment"}
    assert set(page.ids) >= sections | figures
    assert not {"table", "runs", "curves", "parameters", "layers"} & set(page.ids)
    of_tables = int("paper-figures" in registered(REPORT))  # taskfold-demos draws it
    assert page.tags.count("figcaption") == page.tags.count("figure") == of_tables + 2 + 5  # studies, routing
    for words in (*LANGUAGES, *METHODS, "factors, random routing before", "experiments/lemmas.py", "MHR"):
        assert words in page.text
    facts = page.text.split("its parameters")[1].split("total time")[0]
    assert "routed methods" in facts
    assert "runs" not in facts


def test_runs_and_comparisons_share_a_page_and_its_colours(
    document: Callable[..., Document], results: Document, tmp_path: Path
) -> None:
    both = document()
    both["comparisons"] = results["comparisons"]
    page = read_page(both, tmp_path)
    assert set(page.ids) >= {"table", "comparison-0", "parameters"}
    marks = page_marks(read_results(both))
    assert marks["FTN R=4"] == page_marks(read_results(document()))["FTN R=4"]
    assert set(METHODS) <= set(marks)
    assert "random-mu" not in marks  # a mode, not a method


def test_methods_look_the_same_everywhere_and_lines_differ(results: Document) -> None:
    checked = read_results(results)
    page = page_marks(checked)
    assert len({page[label].tone for label in ("LoRA shared", "TLoRA", "Poly", "MHR", "TensorPoly-I")}) == 5
    for study in checked.studies:
        lines = study_marks(checked, study)
        assert all(lines[label].tone == page[label].tone for label in lines)
        assert len({(mark.tone, mark.dash) for mark in lines.values()}) == len(lines)
    many = {"label": "R=1", "x": [1], "mean": [1]}
    many["series"] = [many | {"label": f"TensorPoly R={rank}"} for rank in range(7)]
    changed = read_results(results | {"studies": [{"title": "t", "x": "x", "y": "y", "series": many["series"]}]})
    assert len({mark.tone for mark in study_marks(changed, changed.studies[0]).values()}) == 7


@pytest.mark.parametrize(
    ("column", "cells", "texts", "best"),
    [
        ({"kind": "percent", "best": "highest"}, [0.5, {"mean": 0.61234, "std": 0.01}], ["50.0", "61.2"], [1]),
        ({"kind": "percent", "best": "highest"}, [0.6123, 0.61234, 0.1], ["61.2", "61.2", "10.0"], [0, 1]),
        ({"kind": "count", "best": "lowest"}, [8640, 17_280, None], ["8.64 k", "17.3 k", "–"], [0]),
        ({"kind": "seconds"}, [12.4, "out of memory"], ["12 s", "out of memory"], []),
        ({"kind": "bytes", "best": "lowest"}, [730_112], ["730 kB"], []),
        ({"kind": "gain", "best": "highest"}, [3.14, -2, 0.01, 0], ["+3.1", "−2.0", "0.0", "0.0"], [0]),
        ({"best": "lowest"}, [12.5, 24, 13.25], ["12.50", "24.00", "13.25"], [0]),
        ({}, [1e-7, 3, "none"], ["1e-07", "3", "none"], []),
        ({}, [0.00012345, 31.5], ["0.0001234", "31.5"], []),
        ({"best": "highest"}, [1.5, float("nan"), float("inf")], ["1.5", "not finite", "not finite"], []),
    ],
)
def test_cells_read_well_and_the_best_is_marked(
    column: dict[str, Any], cells: list[Any], texts: list[str], best: list[int]
) -> None:
    table = tabulate(_comparison({"title": "c"} | column, cells))
    found = [cells[0] for _, cells in table.rows]
    assert [cell.text for cell in found] == texts
    assert [index for index, cell in enumerate(found) if cell.best] == best


def test_spread_and_seeds_are_remarks() -> None:
    cells = [{"mean": 0.5, "std": 0.0123, "n": 3}, {"mean": 0.4, "n": 1}, 0.1]
    table = tabulate(_comparison({"title": "c", "kind": "percent"}, cells))
    assert [cells[0].small for _, cells in table.rows] == ["± 1.2", "n=1", ""]
    assert table.titles == ("c (%)",)


@pytest.mark.parametrize(
    ("column", "cells", "best", "level"),
    [
        ({"best": "highest"}, [(3.0, 0.5), (2.6, 0.1), (2.4, 0.1), (2.0, 1.0)], [0], [1, 3]),  # the larger of the two
        ({"best": "lowest"}, [(3.0, 0.5), (2.6, 0.1), (2.4, 0.1)], [2], []),
        ({"best": "lowest"}, [(3.0, 0.5), (2.6, 0.1), (2.4, 0.25)], [2], [1]),
        ({"best": "lowest", "kind": "percent"}, [(0.50001, 0.01), (0.5, 0.02), (0.51, None)], [0, 1], [2]),
        ({"best": "highest"}, [(3.0, None), (2.9, None)], [0], []),  # no spread known
        ({"best": "highest"}, [(float("nan"), 1.0), (2.9, 1.0)], [], []),  # nothing to compare
        ({}, [(3.0, 0.5), (2.9, 0.5)], [], []),
    ],
)
def test_what_is_within_one_deviation_of_the_best_is_said(
    column: dict[str, Any], cells: list[Any], best: list[int], level: list[int]
) -> None:
    measures = [{"mean": mean, "std": std} for mean, std in cells]
    found = [cells[0] for _, cells in tabulate(_comparison({"title": "c"} | column, measures)).rows]
    assert [index for index, cell in enumerate(found) if cell.best] == best
    assert [index for index, cell in enumerate(found) if cell.level] == level


def test_groups_and_directions_head_the_columns(results: Document, tmp_path: Path) -> None:
    columns = [
        "what",
        {"title": "mIoU", "group": "segmentation", "kind": "percent", "best": "highest"},
        {"title": "pixels", "group": "segmentation"},
        {"title": "RMSE", "group": "depth", "best": "lowest", "main": True},
    ]
    rows = [{"label": label, "cells": ["x", mean, mean, {"mean": mean, "std": 0.2}]} for label, mean in METHODS_SCORED]
    shown = {"title": "Scores", "columns": columns, "rows": rows}
    document = {**results, "comparisons": [shown], "studies": [], "routing": []}
    table = tabulate(read_results(document).comparisons[0])
    assert table.titles == ("what", "mIoU (%)\u00a0↑", "pixels", "RMSE\u00a0↓")
    assert table.headings == [("", 1), ("segmentation", 2), ("depth", 1)]
    assert table.starts == [False, True, False, True]
    page = read_page(document, tmp_path)
    assert "(within one standard deviation of the best)" in page.text
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<th scope="colgroup" colspan="2" class="start">segmentation</th>' in html
    assert "segmentation pixels" in " ".join(_print(document).split())
    assert "0.6≈" in _print(document, 30)  # the main column is the last that is left out
    assert (
        _sentence(document)
        == "Scores: A is the best of 2, within one standard deviation of others; depth RMSE: 0.5 (± 0.2)."
    )


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_terminal_shows_what_fits_and_names_the_rest(results: Document, width: int) -> None:
    text = _print(results, width)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    for column in results["comparisons"][0]["columns"]:
        if width > 40:
            assert column["title"] in words
    assert all(any(line.startswith(f" {method} ") for line in text.splitlines()) for method in METHODS)
    means = [row["cells"][6]["mean"] for row in results["comparisons"][0]["rows"]]
    assert all(f"{100 * mean:.1f}" in text for mean in means)  # the mean is never left out
    assert ("more columns in the report" in words) == (width < 200)


def test_the_terminal_shows_runs_and_comparisons(document: Callable[..., Document], results: Document) -> None:
    text = _print(document() | {"comparisons": results["comparisons"]}, 100)
    assert "FTN R=4" in text
    assert "What is trained on a new language" in text


def _sentence(results: Document, **changes: Any) -> str:
    return headline(read_results(results | changes)).replace("\u00a0", " ")


def test_the_sentence_on_top_names_the_best(results: Document) -> None:
    first, second = results["comparisons"]
    sentence = "New languages, 32 examples: TensorPoly-II is the best of 7 in all 7 columns, "
    sentence += "within one standard deviation of others in 1 of them; mean: "
    assert _sentence(results).startswith(sentence)
    assert "are the best of 4, in 1 column each" in _sentence(results, comparisons=[second])
    assert _sentence(results, comparisons=[]) == "2 studies and 1 routed method on 30 tasks."
    unrated = [{**first, "columns": [column | {"best": None} for column in first["columns"]]}]
    assert _sentence(results, comparisons=unrated, studies=[]) == "1 comparison and 1 routed method on 30 tasks."
    nothing: dict[str, Any] = {"comparisons": [], "studies": [], "routing": []}
    assert _sentence(results, **nothing) == "There are no runs to report yet."
