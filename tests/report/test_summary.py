"""Means, spreads, ranks and the first sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from taskfold.report import read_results
from taskfold.report._headline import headline
from taskfold.report._style import marks
from taskfold.report._summary import rows

Document = dict[str, Any]


def _with(document: Document, accuracies: Mapping[tuple[str, str, int], float | None]) -> Document:
    """Keep the runs named by (task, label, seed), with these accuracies; None for a failed one."""
    runs = []
    for run in document["runs"]:
        key = (run["task"], run["label"], run["seed"])
        if key in accuracies:
            accuracy = accuracies[key]
            failed = {"failed": "diverged", "metrics": {}}
            runs.append(run | (failed if accuracy is None else {"metrics": {"test_accuracy": accuracy}}))
    assert len(runs) == len(accuracies)
    return document | {"runs": runs}


def test_mean_over_tasks_spreads_over_the_seeds_own_means(document: Callable[..., Document]) -> None:
    accuracies = {
        ("mnist", "FTN R=4", 0): 0.90, ("digits", "FTN R=4", 0): 0.70,
        ("mnist", "FTN R=4", 1): 0.94, ("digits", "FTN R=4", 1): 0.70,
    }  # fmt: skip
    (row,) = rows(read_results(_with(document(seeds=2), accuracies)))
    single, mean = row.accuracy("mnist"), row.mean(["mnist", "digits"])
    assert single is not None
    assert mean is not None
    assert (single.mean, single.std, single.n) == (pytest.approx(0.92), pytest.approx(0.02 * 2**0.5), 2)
    assert (mean.mean, mean.std, mean.n) == (pytest.approx(0.81), pytest.approx(0.01 * 2**0.5), 2)
    assert row.mean(["mnist", "animals"]) is None


def test_costs_and_order(document: Callable[..., Document]) -> None:
    table = rows(read_results(document()))
    assert [row.label for row in table] == ["head only", "FTN R=1", "FTN R=4", "FTN R=16", "fine-tuning"]
    assert [row.rank for row in table] == [None, 1, 4, 16, None]
    assert (table[2].adapter, table[2].parameters) == (128_000, 140_810)
    assert table[-1].share == 1.0


@pytest.mark.parametrize(
    ("ftn", "tuned", "words"),
    [
        (0.95, 0.93, "2.0 points above fine-tuning (93.0"),
        (0.90, 0.93, "3.0 points below fine-tuning (93.0"),
        (0.93, 0.9302, "level with fine-tuning (93.0"),
    ],
)
def test_the_headline_says_who_wins(document: Callable[..., Document], ftn: float, tuned: float, words: str) -> None:
    results = _with(
        document(),
        {("mnist", "FTN R=4", 0): ftn, ("mnist", "fine-tuning", 0): tuned, ("mnist", "head only", 0): 0.99},
    )
    text = headline(read_results(results))
    assert words in text
    assert "points below head only (99.0" in text
    assert "3.8\u00a0% of the backbone's parameters per task" in text
    assert "on mnist (one seed)" in text


def test_the_headline_compares_on_the_tasks_that_all_have(document: Callable[..., Document]) -> None:
    results = _with(
        document(),
        {
            ("mnist", "FTN R=4", 0): 0.90, ("digits", "FTN R=4", 0): 0.10,
            ("mnist", "fine-tuning", 0): 0.95, ("digits", "fine-tuning", 0): None,
        },
    )  # fmt: skip
    text = headline(read_results(results))
    assert text.startswith("FTN R=4 reaches 90.0\u00a0% test accuracy on mnist")
    assert "5.0 points below fine-tuning" in text
    assert text.endswith("1 of 4 runs failed.")


def test_a_gap_within_the_spread_is_called_so(document: Callable[..., Document]) -> None:
    values = {"FTN R=4": (0.90, 0.96), "fine-tuning": (0.92, 0.93)}
    keys = {("mnist", label, seed): value for label, pair in values.items() for seed, value in enumerate(pair)}
    text = headline(read_results(_with(document(seeds=2), keys)))
    assert "(± 4.2 over 2 seeds), 0.5 points above fine-tuning (92.5\u00a0%, within one standard deviation)" in text


def test_the_headline_without_ftn_without_success_without_runs(document: Callable[..., Document]) -> None:
    tuned = {("mnist", "fine-tuning", 0): 0.9, ("mnist", "head only", 0): 0.8}
    assert headline(read_results(_with(document(), tuned))).startswith("fine-tuning (the best of 2 methods) reaches")
    failed = {("mnist", "FTN R=4", 0): None, ("mnist", "head only", 0): None}
    assert headline(read_results(_with(document(), failed))) == "All 2 runs failed: there is no accuracy to report."
    assert headline(read_results(_with(document(), {}))) == "There are no runs to report yet."


def test_one_colour_per_family_and_no_two_marks_alike() -> None:
    labels = [
        ("FTN R=1", "ftn"),
        ("FTN R=4", "ftn"),
        ("LoRA", "lora"),
        ("Poly", "poly"),
        ("TP", "tensorpoly-1"),
    ]
    found = marks(labels)
    assert found["FTN R=1"].tone == found["FTN R=4"].tone == "ftn"
    assert len(set(found.values())) == len(labels)
    assert len({mark.tone for mark in found.values()}) == 4
