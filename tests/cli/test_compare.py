"""Methods side by side on tiny tasks: searched, trained, measured, recommended; interrupted, continued, refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskfold.cli import _compare_runs
from taskfold.cli._compare_folder import Home
from taskfold.cli._compare_rows import Row, advised, in_words
from taskfold.cli._compare_search import Search, mend
from taskfold.cli._held import held
from taskfold.config.compare import Compare, load_compare
from taskfold.report import read_results

from . import project, rooms
from .conftest import Run

METHODS = ["head-only", {"name": "ftn", "search": {"rank": [1, 2]}}, "ftn-qv"]
TRAIN = {"epochs": 2, "batch_size": 8, "threads": 1}


def write(folder: Path, **changes: Any) -> Path:
    """A comparison of two tasks of coloured squares; its configuration, with top-level keys changed."""
    path = project.write(folder)
    document = yaml.safe_load(path.read_text())
    document |= {"compare": {"methods": METHODS, "trials": 3, "seeds": 2}, "train": TRAIN}
    document["tasks"] = [{key: task[key] for key in ("name", "source")} for task in document["tasks"]]
    del document["method"]
    path.write_text(yaml.safe_dump({**document, **changes}, sort_keys=False))
    return path


@pytest.fixture(name="compared", scope="module")
def _compared(tmp_path_factory: pytest.TempPathFactory, run: Run) -> tuple[Path, Any]:
    """A finished comparison, not to be changed; and what the command said."""
    path = write(tmp_path_factory.mktemp("compared"))
    result = run("compare", path)
    assert result.exit_code == 0, result.output
    return path, result


def test_what_a_comparison_leaves_behind(compared: tuple[Path, Any], run: Run) -> None:
    path, result = compared
    runs = path.parent / "runs"
    found = read_results(runs / "results.json")
    measured = found.runs
    assert {(one.task, one.method, one.seed) for one in measured} == {
        (task, method, seed) for task in ("warm", "all") for method in ("head-only", "ftn") for seed in (1, 2)
    }
    table = found.comparisons[0]
    titles = [column.name for column in table.columns]
    cells = {row.label: dict(zip(titles, row.cells, strict=True)) for row in table.rows}
    first, second, third = cells
    assert (first, third) == ("HeadOnly", "FTNQueryValue")
    assert second in ("FTN R=1", "FTN R=2")
    ftn = cells[second]
    assert cells["HeadOnly"]["numbers"].mean == 0 < ftn["numbers"].mean
    assert ftn["size"].mean == 4 * ftn["numbers"].mean
    assert ftn["multiply-adds unfolded"].mean > ftn["multiply-adds folded"].mean
    assert all(ftn[f"ms per input {way}"].mean > 0 for way in ("unfolded", "folded", "mixed"))
    assert (ftn["validation"].n, ftn["test"].n) == (2, 2)
    noted = {row.label: str(row.cells[0].text) for row in found.comparisons[-1].rows}
    assert noted["FTNQueryValue"].startswith("does not fit: Sequential has no attention")
    assert " ".join(found.conclusion.split()) in " ".join(result.stdout.split())
    assert found.conclusion.startswith("Take ")
    assert found.conclusion in (runs / "report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert 'id="sides-0-' in (runs / "report.html").read_text()
    assert "2 methods, 3 trials and 2 seeds of each: 20 trainings to come" in result.stderr
    assert not [*runs.glob("methods/*/trial-*")]
    file = next(runs.glob("methods/ftn/seed-1/tasks/warm.safetensors"))
    said = run("evaluate", file, "--data", path.parent / "data" / "warm", "--json")
    assert said.exit_code == 0, said.output


def test_finished_trainings_are_not_trained_again(
    compared: tuple[Path, Any], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(compared[0].parent, tmp_path / "copy")
    monkeypatch.setattr(_compare_runs, "train_task", None)
    monkeypatch.setattr("taskfold.cli._compare.write_report", lambda document, path: path)
    result = run("compare", tmp_path / "copy" / "config.yaml")
    assert result.exit_code == 0, result.output
    assert "All trainings are finished" in result.stderr
    before, after = (
        read_results(folder / "runs" / "results.json") for folder in (compared[0].parent, tmp_path / "copy")
    )
    assert before.conclusion == after.conclusion
    changed = write(tmp_path / "copy", train={**TRAIN, "epochs": 3})
    result = run("compare", changed)
    assert result.exit_code == 1
    assert "holds a comparison with other training; choose another output" in result.stderr


def test_an_interruption_changes_nothing(
    compared: tuple[Path, Any], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, trained = write(tmp_path), list[str]()
    monkeypatch.setattr("taskfold.cli._compare.write_report", lambda document, path: path)
    real = _compare_runs.train_task

    def training(model: Any, name: str, *data: Any, folder: Path, **more: Any) -> Any:
        found = real(model, name, *data, folder=folder, **more)
        if not found.resumed:
            trained.append(f"{folder.parent.parent.name}/{name}")
            if len(trained) in (3, 8, 15):  # in a trial, between its tasks; and in a run
                raise KeyboardInterrupt
        return found

    monkeypatch.setattr(_compare_runs, "train_task", training)
    assert [run("compare", path).exit_code for _ in range(4)] == [130, 130, 130, 0]
    assert len(trained) == 20
    [before, after] = (
        json.loads((folder / "runs" / "results.json").read_text()) for folder in (compared[0].parent, tmp_path)
    )
    keys = ("label", "task", "seed", "metrics")
    assert [[one.get(key) for key in keys] for one in before["runs"]] == [
        [one.get(key) for key in keys] for one in after["runs"]
    ]


def test_what_fails_for_a_task_or_a_seed_is_a_row_with_its_reason(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = _compare_runs.train_task

    def training(model: Any, name: str, *data: Any, **more: Any) -> Any:
        method, seed = model[name].method["name"], data[2].seed
        if name == "all" and (method == "ftn" or (method == "bitfit" and seed == 2)):
            raise ValueError("the loss became nan")
        return real(model, name, *data, **more)

    monkeypatch.setattr(_compare_runs, "train_task", training)
    monkeypatch.setattr("taskfold.cli._compare.write_report", lambda document, path: path)
    methods = {"methods": ["head-only", "ftn", "bitfit"], "trials": 1, "seeds": 2}
    result = run("compare", write(tmp_path, compare=methods))
    assert result.exit_code == 0, result.output
    found = read_results(tmp_path / "runs" / "results.json")
    assert {(one.method, one.seed, one.failed) for one in found.runs if one.failed} == {
        ("bitfit", 2, "task 'all': the loss became nan")
    }
    noted = {row.label: str(row.cells[0].text) for row in found.comparisons[-1].rows}
    assert noted["FTN"] == "none of 1 trials trained: task 'all': the loss became nan"
    assert "Take HeadOnly: " in found.conclusion
    assert "Not ranked: FTN, BitFit" in found.conclusion


def test_tasks_that_stand_on_earlier_ones_are_added_in_turn(tmp_path: Path, run: Run) -> None:
    result = run("compare", write(tmp_path, compare={"methods": ["packnet"], "trials": 1, "seeds": 1}))
    assert result.exit_code == 0, result.output
    found = read_results(tmp_path / "runs" / "results.json").runs
    assert [(one.task, one.failed) for one in found] == [("warm", None), ("all", None)]


def row(label: str, numbers: int, *scores: float | None, bits: int = 0, test: float = 0.0) -> Row:
    runs = {
        seed: {"failed": "why"} if score is None else {"score": score, "tasks": {"a": {"tested": {"accuracy": test}}}}
        for seed, score in enumerate(scores)
    }
    return Row(label, label, runs, numbers=numbers, bits=bits)


BEST = row("best", 1000, 0.90, 0.92, 0.94)  # mean 0.92, one standard error 0.0115
ADVICE = [
    ([BEST, row("near", 100, 0.91, 0.91, 0.91)], "near"),
    ([BEST, row("far", 100, 0.90, 0.90, 0.90)], "best"),
    ([BEST, row("near", 100, 0.91, 0.91, 0.91), row("masks", 0, 0.91, 0.91, 0.91, bits=3199)], "masks"),
    ([BEST, row("near", 100, 0.91, 0.91, 0.91), row("masks", 0, 0.91, 0.91, 0.91, bits=3201)], "near"),
    ([BEST, row("near", 100, 0.95, None, 0.95)], "best"),  # a run failed
    ([row("one", 10, 0.9), row("other", 1, 0.899)], "one"),  # one seed
    ([BEST, row("far", 100, 0.8, 0.8, 0.8, test=1.0)], "best"),  # test scores choose nothing
    ([row("none", 10, None), Row("out", "out", reason="does not fit")], None),
]


@pytest.mark.parametrize(("rows", "taken"), ADVICE)
def test_the_smallest_within_one_standard_error(rows: list[Row], taken: str | None) -> None:
    advice = advised(rows)
    assert (advice.row and advice.row.label) == taken
    words = in_words(advice, rows, accuracy=True)
    assert words.startswith(f"Take {taken}: " if taken else "None of the 2 methods trained")


def test_a_much_smaller_method_is_named() -> None:
    rows = [
        BEST,
        row("small", 100, 0.8, 0.8, 0.8),
        row("smaller", 10, 0.7, 0.7, 0.7),
        row("large", 101, 0.85, 0.85, 0.85),
    ]
    words = in_words(advised(rows), rows, accuracy=True)
    assert words.startswith("Take best: ")
    assert words.endswith("besides the head. The best of those at most a tenth as large is small (80.0 %).")


def searched(journal: Path, compare: Compare, stops: Iterator[int], peak: float) -> list[dict[str, Any]]:
    """All points of a search whose scores have one peak; it is dropped and opened again where `stops` says."""
    tried: list[dict[str, Any]] = []
    stop = next(stops, -1)
    while True:
        search = Search(journal, compare.methods[0], compare, 0)
        while (point := search.next()) is not None:
            if len(tried) == stop:
                stop = next(stops, -1)
                break  # as if killed: the trial has been asked for, and not told
            tried.append({"factor": point.factor, **point.settings})
            search.tell(point, None if point.factor > 8 else -abs(point.factor - peak))
        else:
            return tried


def test_a_smaller_budget_is_the_same_for_what_had_a_larger_one(tmp_path: Path) -> None:
    plain = {"methods": ["head-only"], "lr": [0.1, 10.0]}
    large, small = (Compare.model_validate({**plain, "trials": trials}) for trials in (5, 2))
    both = [tmp_path / "large-first", tmp_path / "small"]
    searched(both[0], large, iter((4,)), 0.0)
    for journal in both:
        searched(journal, small, iter(()), 0.0)
    first, second = (Search(journal, small.methods[0], small, 0) for journal in both)
    assert first.next() is None
    assert first.found() == second.found()
    assert first.found().tried == 2


def test_a_search_goes_on_where_it_was_and_says_where_it_ends(tmp_path: Path) -> None:
    methods = [{"name": "lora", "search": {"rank": [1, 2, 4]}}]
    compare = Compare.model_validate({"methods": methods, "trials": 7, "lr": [0.1, 10.0]})
    whole = searched(tmp_path / "whole", compare, iter(()), 1.0)
    assert (len(whole), whole[0]["factor"], {one["rank"] for one in whole[:3]}) == (7, 1.0, {1, 2, 4})
    assert searched(tmp_path / "parts", compare, iter((1, 4, 6)), 1.0) == whole
    with (tmp_path / "parts").open("ab") as file:
        file.write(b'{"op_code": 6, "torn')
    mend(tmp_path / "parts")
    found = Search(tmp_path / "parts", compare.methods[0], compare, 0).found()
    assert (found.tried, found.point and found.point.factor) == (7, 1.0)
    assert not any("rate" in edge for edge in found.edges)
    searched(tmp_path / "low", compare, iter(()), 0.0)
    found = Search(tmp_path / "low", compare.methods[0], compare, 0).found()
    assert "the rate is the lowest tried" in found.edges


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "ftn"}, "method: methods of a comparison stand in compare.methods"),
        ({"train": {"lr": "auto"}}, "train.lr: a comparison searches the rates"),
        ({"compare": {"methods": ["poly"]}}, "compare.methods[0]: is missing: method 'poly' shares an inventory"),
        ({"compare": {"methods": []}}, "compare.methods"),
        ({"compare": {"methods": ["ftn", "ftn"]}}, "two methods are called 'ftn'; give one of them a label"),
        ({"compare": {"methods": ["ftn"], "lr": [3, 1]}}, "compare.lr: must be two numbers, 0 < lowest < highest"),
        ({"compare": {"methods": [{"name": "ftn", "search": {"rank": [0, 1]}}]}}, "rank must be"),
        ({"compare": {"methods": [{"name": "ftn", "search": {"rank": 4}}]}}, "search.rank: must be a list of at least"),
        (
            {"compare": {"methods": [{"name": "ftn", "search": {"rank": [4]}}]}},
            "at least two different values, found [4]",
        ),
        ({"compare": {"methods": ["ftn"], "trails": 3}}, "did you mean trials?"),
        ({"compare": {"methods": ["ftn"], "trials": 0}}, "compare.trials: must be > 0, found 0"),
        ({"compare": {"methods": ["ftn"], "seeds": 0}}, "compare.seeds: must be > 0, found 0"),
        ({"compare": {"methods": ["ftn", {"name": "lora", "label": "FTN"}]}}, "two methods are called 'ftn' and 'FTN'"),
        ({"compare": {"methods": [{"name": "ftn", "label": "ftn\u200b"}]}}, "label: must be 1 to 100 printable"),
        ({"compare": {"methods": [{"name": "ftn", "label": ""}]}}, "methods[0].label: must be 1 to 100 printable"),
        ({"compare": {"methods": ["ftn\u200b"]}}, r"method 'ftn\u200b' is not known"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path: Path, run: Run, changes: dict[str, Any], message: str) -> None:
    result = run("compare", write(tmp_path, **changes))
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "runs").exists()


def test_each_command_names_the_other(tmp_path: Path, run: Run) -> None:
    assert "use it with taskfold compare" in run("train", write(tmp_path)).stderr
    assert "compare: is missing" in run("compare", project.write(tmp_path)).stderr


def test_one_process_at_a_time(tmp_path: Path, run: Run) -> None:
    path = write(tmp_path)
    home = Home(load_compare(path))
    with held(home.path), pytest.raises(ValueError, match="another taskfold command works in"), held(home.path):
        pass
    with held(home.path):  # it was let go
        pass


def test_dense_tasks_that_train_together(tmp_path: Path, run: Run) -> None:
    methods = ["hard-sharing", {"name": "piggyback", "label": "masks"}, "ftn-qv"]
    compared = {"methods": methods, "trials": 1, "seeds": 2}
    together = {"epochs": 1, "batch_size": 4}
    path = rooms.write(tmp_path, method=None, train=None, compare=compared, together=together)
    result = run("compare", path)
    assert result.exit_code == 0, result.output
    found = read_results(tmp_path / "runs" / "results.json")
    table, scores, notes = found.comparisons
    titles = [column.name for column in table.columns]
    cells = {row.label: dict(zip(titles, row.cells, strict=True)) for row in table.rows}
    assert titles[0] == "validation loss"
    assert [cells[name]["validation loss"].n for name in ("HardSharing", "masks")] == [2, 2]
    assert all(cells["masks"][f"ms per input {way}"].mean > 0 for way in ("unfolded", "folded", "mixed"))
    assert cells["masks"]["bits"].mean == 8 * cells["masks"]["size"].mean > 0 == cells["masks"]["numbers"].mean
    assert {row.label for row in scores.rows} == {"HardSharing", "masks"}
    assert [row.label for row in notes.rows if "does not fit" in str(row.cells[0].text)] == ["FTNQueryValue"]
    assert 'id="sides-0-' in (tmp_path / "runs" / "report.html").read_text()
