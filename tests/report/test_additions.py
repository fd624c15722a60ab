"""Packages' additions to documents and reports: checked keys, chapters, figures."""

from __future__ import annotations

import io
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from taskfold import plugins
from taskfold.report import Results, ResultsError, read_results, summary_table
from taskfold.report._headline import headline
from taskfold.report._marks import page_marks
from taskfold.report.additions import Addition, Chapter, Section
from taskfold.report.schema import Comparison, Name, Part

from .page import read_page
from .runs import document


class Prize(Part):
    """What a method won."""

    method: Name
    task: Name


def drawn(results: Results) -> Figure:
    return Figure(figsize=(1, 1))


class Prizes(Addition):
    """Prizes of methods."""

    keys: ClassVar[dict[str, type[Part]]] = {"prizes": Prize}

    def figures(self, results: Results) -> Iterable[Section]:
        return [Section("podium", "Podium", "Who stands where.", drawn)]

    def beneath(self, comparison: Comparison, key: str) -> Iterable[Section]:
        return [Section(f"{key}-medals", comparison.title, "Medals.", drawn)]

    def chapters(self, results: Results) -> Iterable[Chapter]:
        return [
            Chapter(
                key="prizes",
                index=index,
                part=prize,
                tasks=(prize.task,),
                labels=(prize.method,),
                headline=f"{prize.method} has won.",
                table=Comparison.model_validate(
                    {"title": "Prizes", "columns": ["won"], "rows": [{"label": prize.method, "cells": ["gold"]}]}
                ),
                sections=(Section(f"prizes-{index}-cup", "Cup", "A cup.", drawn),),
                template=(
                    '<section id="prizes-{{ chapter.index }}">{{ part.method }} won {{ filled.titles[0] }}'
                    "{% for drawing in drawn %}<figure>{{ drawing.svg }}</figure>{% endfor %}</section>"
                ),
            )
            for index, prize in enumerate(getattr(results, "prizes", ()))
        ]


@pytest.fixture(autouse=True)
def _added(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("prizes", f"{__name__}:Prizes", plugins.REPORT)
    monkeypatch.setattr(plugins, "registered", lambda group: {"prizes": entry} if group == plugins.REPORT else {})
    monkeypatch.setattr(plugins, "load", lambda entry: Prizes)


def results(*prizes: Any) -> dict[str, Any]:
    return {**document(tasks=("mnist",)), "prizes": list(prizes)}


GOLD = {"method": "Alchemy", "task": "mnist"}


@pytest.mark.parametrize(
    ("prize", "message"),
    [
        ({"method": "A"}, r"prizes\[0\]\.task is missing"),
        ({**GOLD, "tsk": 1}, r"prizes\[0\]\.tsk is not a key of version 1, nor of a package that is installed"),
        ({**GOLD, "task": "none"}, r"prizes\[0\]: the task 'none' is not among the tasks \(mnist\)"),
    ],
)
def test_an_added_key_is_checked_like_any_other(prize: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        read_results(results(prize))


def test_a_key_of_a_package_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "registered", lambda group: {})
    with pytest.raises(ResultsError, match="prizes is not a key of version 1, nor of a package that is installed"):
        read_results(results(GOLD))


def test_the_page_shows_chapters_and_figures(tmp_path: Path) -> None:
    table = {"title": "T", "columns": ["c"], "rows": [{"label": "A", "cells": [1]}]}
    page = read_page({**results(GOLD, {**GOLD, "method": "<b>"}), "comparisons": [table]}, tmp_path)
    assert {"prizes-0", "prizes-1", "podium", "parameters"} <= set(page.ids)
    assert page.ids.index("prizes-1") < page.ids.index("comparison-0") < page.ids.index("podium")
    assert page.ids.index("podium") < page.ids.index("parameters")
    assert "Alchemy won won" in page.text and "<b> won won" in page.text
    assert (
        page.tags.count("svg")
        == len({name for name in page.ids if name in {"podium", "parameters", "curves", "layers"}}) + 3
    )


def test_methods_of_chapters_have_colours_a_table_and_the_first_sentence() -> None:
    read = read_results({**results(GOLD), "runs": []})
    assert "Alchemy" in page_marks(read)
    assert headline(read) == "Alchemy has won."
    said = io.StringIO()
    Console(file=said, width=80).print(summary_table(read))
    assert "Prizes" in said.getvalue() and "gold" in said.getvalue()
