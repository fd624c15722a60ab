"""A document that fits the schema is read; another is refused with file and key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskfold.report import Results, ResultsError, read_results

Document = dict[str, Any]


def test_a_file_and_its_mapping_read_the_same(document: Callable[..., Document], tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(document()))
    assert read_results(path) == read_results(document())
    assert isinstance(read_results(path), Results)


def _change(key: str, value: Any) -> Callable[[Document], None]:
    *path, last = [int(part) if part.isdigit() else part for part in key.split("/")]

    def change(document: Any) -> None:
        for part in path:
            document = document[part]
        if value is None:
            del document[last]
        else:
            document[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change("version", 2), "version is 2, this Taskfold reads 1; update"),
        (_change("version", "1"), r"version: input should be 1, found '1'"),
        (_change("title", None), "title is missing"),
        (_change("runs/3/taks", "x"), r"runs\[3\]\.taks is not a key of version 1"),
        (_change("runs/3/task", "mnits"), r"runs\[3\]\.task: 'mnits' is not among the tasks \(mnist, digits"),
        (_change("runs/1/metrics/test_accuracy", 96.1), r"runs\[1\].metrics: test_accuracy .* found 96.1"),
        (_change("runs/1/metrics/test_accuracy", float("nan")), r"between 0 and 1, found nan"),
        (
            _change("runs/1/metrics/test_accuracy", None),
            "test_accuracy is missing; a run without it must say why",
        ),
        (
            _change("runs/0/predictions/0/image", "%%%"),
            r"predictions\[0\]\.image: image must be a base64 PNG",
        ),
        (_change("runs/0/predictions/0/image", "aGVsbG8="), "the PNG signature is missing"),
        (_change("runs/0/parameters/head", -1), r"parameters\.head: .* greater than or equal to 0, found -1"),
        (_change("runs/1/method", "lora"), r"runs\[2\]\.label: 'head only' stands for|runs\[1\]\.label"),
        (_change("tasks/1/name", "mnist"), r"tasks\[1\]\.name: 'mnist' is there twice"),
        (
            _change("isolation/0/after", "cd"),
            r"isolation\[0\]: identical is True, yet before 'abab.* after 'cd'",
        ),
        (_change("mixed_batch/tasks", ["birds"]), "mixed_batch.tasks: 'birds' is not among"),
        (_change("backbone/parameters", 0), r"backbone\.parameters: .* greater than 0, found 0"),
        (_change("tasks", []), "tasks: .* at least 1 item"),
    ],
)
def test_errors_name_the_key_and_the_value(
    document: Callable[..., Document], change: Callable[[Document], None], message: str
) -> None:
    broken = document()
    change(broken)
    with pytest.raises(ResultsError, match=message):
        read_results(broken)


def _routing(tasks: list[str]) -> Document:
    alpha = [[[0.25, 0.75]] for _ in tasks]
    layers = [{"layer": "a.0.q", "alpha": alpha, "similarity": [[1, 0.5], [0.5, 1]]}]
    distances = [[float(i != j) / 2 for i in range(len(tasks))] for j in range(len(tasks))]
    return {"label": "Poly", "tasks": tasks, "layers": layers, "distances": distances}


def _shared(document: Document) -> Document:
    columns = [{"title": "match", "kind": "percent", "best": "highest"}, "what"]
    rows = [{"label": label, "cells": [{"mean": 0.5, "std": 0.1, "n": 3}, "text"]} for label in ("Poly", "MHR")]
    series = [{"label": label, "x": [1, 2], "mean": [0.5, None], "std": [0.1, None]} for label in ("Poly", "MHR")]
    return document | {
        "comparisons": [{"title": "c", "columns": columns, "rows": rows}],
        "studies": [{"title": "s", "x": "R", "y": "match", "log_x": True, "series": series}],
        "routing": [_routing(["mnist", "digits"])],
    }


def test_documents_without_runs_and_with_all_parts_are_read(document: Callable[..., Document]) -> None:
    results = read_results(_shared(document()))
    assert results.comparisons[0].columns[1].title == "what"
    assert results.comparisons[0].rows[0].cells[1].text == "text"
    assert results.routing[0].layers[0].size == 2
    without = document()
    del without["runs"]
    assert read_results(without).runs == ()
    again = read_results(json.loads(results.model_dump_json()))
    assert again == results


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change("comparisons/0/rows/1/cells", [0.5]), r"comparisons\[0\]: rows\[1\]\.cells .*found 1 for 2 columns"),
        (_change("comparisons/0/rows/1/cells/0", 50), r"rows\[1\]\.cells\[0\]\.mean .* between 0 and 1, found 50"),
        (_change("comparisons/0/rows/1/cells/0", {"std": 1}), r"rows\[1\]\.cells\[0\]: mean is missing"),
        (_change("comparisons/0/rows/0/cells/0/mena", 1), r"rows\[0\]\.cells\[0\]\.mena is not a key"),
        (_change("comparisons/0/rows/0/cells/0/std", -1), r"cells\[0\]\.std: .* or equal to 0, found -1"),
        (_change("comparisons/0/rows/0/cells/0", True), r"cells\[0\]: .* found True"),
        (_change("comparisons/0/rows/0/label", "MHR"), r"rows\[1\]\.label: 'MHR' is there twice"),
        (_change("comparisons/0/columns/0/kind", "share"), r"columns\[0\]\.kind: .* found 'share'"),
        (_change("studies/0/series/0/mean", [1]), r"series\[0\]: mean must hold one value for each x, found 1 for 2"),
        (_change("studies/0/series/1/x", [0, 1]), r"studies\[0\]: series\[1\]\.x must be positive.* found 0"),
        (_change("studies/0/series/1/label", "Poly"), r"series\[1\]\.label: 'Poly' is there twice"),
        (_change("studies/0/y", None), r"studies\[0\]\.y is missing"),
        (_change("routing/0/tasks/1", "birds"), r"routing\[0\]\.tasks\[1\]: 'birds' is not among the tasks"),
        (_change("routing/0/layers/0/alpha", [[[0.5, 0.5]]]), r"layers\[0\]\.alpha .*found 1 for 2 tasks"),
        (_change("routing/0/layers/0/alpha/1/0", [0.5, 0.9]), r"layers\[0\]: alpha\[1\]\[0\] must sum to 1, found 1.4"),
        (_change("routing/0/layers/0/alpha/1/0", [1.0]), r"alpha\[1\] must hold 1 groups of 2 experts"),
        (_change("routing/0/layers/0/alpha/1/0/0", float("nan")), r"alpha\[1\]\[0\]\[0\]: .* found nan"),
        (_change("routing/0/layers/0/groups", 0), r"layers\[0\]\.groups: .* greater than 0, found 0"),
        (_change("routing/0/layers/0/similarity", [[1, 0.5]]), r"similarity must be square"),
        (_change("routing/0/layers/0/similarity/0/1", 2), r"similarity\[0\]\[1\]: .* less than or equal to 1, found 2"),
        (
            _change("routing/0/layers/0/experts", {"low": 1, "high": 0, "counts": [1]}),
            r"experts: low must be less than high, found 1.0 and 0.0",
        ),
        (_change("routing/0/distances/0/1", 0.4), r"distances\[0\]\[1\] must be 0 on the diagonal and symmetric"),
        (_change("routing/0/distances", [[0]]), r"distances must hold 2 × 2 numbers"),
    ],
)
def test_errors_in_what_is_shared_name_the_key_and_the_value(
    document: Callable[..., Document], change: Callable[[Document], None], message: str
) -> None:
    broken = _shared(document())
    change(broken)
    with pytest.raises(ResultsError, match=message):
        read_results(broken)


def test_a_second_result_for_the_same_seed_is_refused_but_a_retried_failure_is_not(
    document: Callable[..., Document],
) -> None:
    twice = document()
    twice["runs"].append(dict(twice["runs"][0]))
    with pytest.raises(ResultsError, match=r"runs\[15\]: a second result for 'mnist', 'head only', seed 0"):
        read_results(twice)
    twice["runs"][0].update(failed="interrupted", metrics={})
    assert len(read_results(twice).runs) == 16


def test_many_problems_are_listed_briefly(document: Callable[..., Document]) -> None:
    broken = document()
    for run in broken["runs"]:
        run["bytes"] = "many"
    with pytest.raises(ResultsError) as caught:
        read_results(broken)
    assert str(caught.value).count("\n") == 5
    assert str(caught.value).endswith("and 10 more")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": 1,', "line 1, column 15"),
        ("[]", "must be a JSON object, found list"),
        ("\udce9", "not UTF-8"),
    ],
)
def test_a_file_that_is_no_document_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run 7.json"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ResultsError, match=rf"run 7\.json: .*{message}"):
        read_results(path)


def test_a_missing_file_and_a_wrong_type(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json does not exist"):
        read_results(tmp_path / "nowhere.json")
    with pytest.raises(TypeError, match="mapping or the path of a JSON file, found list"):
        read_results([])  # type: ignore[arg-type]


def test_control_characters_become_spaces(document: Callable[..., Document]) -> None:
    assert read_results(document(tasks=("a\x1b[31m\x00b",))).tasks[0].name == "a [31m b"
