"""The HTML page, for all kinds of documents."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskfold.report import write_report

from .page import read_page

Document = dict[str, Any]
SECTIONS = {
    "table",
    "parameters",
    "curves",
    "layers",
    "isolation",
    "mixed",
    "samples",
    "tasks",
    "runs",
}


def test_a_whole_document_has_every_section(document: Callable[..., Document], tmp_path: Path) -> None:
    page = read_page(document(seeds=2), tmp_path)
    assert set(page.ids) >= SECTIONS
    assert page.text.count("✗ 5") == 3 * 2
    assert "FTN R=16 (the best of 3 FTN settings)" in page.text
    assert "Bit-identical in 3 of 3" in page.text
    assert "taskfold demo" in page.text


def _failed(results: Document) -> None:
    for run in results["runs"]:
        run.update(failed="out of memory", metrics={}, curve=[], layers=[], predictions=[], parameters={})


def _no_ftn(results: Document) -> None:
    results["runs"] = [run for run in results["runs"] if run["method"] != "ftn"]


def _unknown(results: Document) -> None:
    for run in results["runs"]:
        run["method"], run["label"] = f"new-{run['label'].lower()}", f"_New {run['label']}"


def _diverged(results: Document) -> None:
    for run in results["runs"]:
        for point in run["curve"]:
            point.update(train_loss=float("nan"), val_accuracy=None)
        for change in run["layers"]:
            change["ratio"] = float("nan")


def _bare(results: Document) -> None:
    for key in ("command", "seconds", "environment", "isolation", "mixed_batch"):
        del results[key]
    results["tasks"] = [{"name": task["name"]} for task in results["tasks"]]
    kept = ("task", "method", "label", "metrics")
    results["runs"] = [{key: run[key] for key in kept} for run in results["runs"]]


def _empty(results: Document) -> None:
    results["runs"] = []


@pytest.mark.parametrize(
    ("shape", "change", "missing"),
    [
        ({"tasks": ("mnist",)}, None, set()),
        ({"epochs": 1}, None, set()),
        ({"images": 0}, None, {"samples"}),
        ({"epochs": 0}, None, {"curves"}),
        ({}, _no_ftn, {"layers"}),
        ({}, _failed, {"parameters", "curves", "layers", "samples"}),
        ({}, _unknown, set()),
        ({}, _diverged, set()),
        ({}, _bare, SECTIONS - {"table", "tasks", "runs"}),
        ({}, _empty, SECTIONS - {"isolation", "mixed", "tasks"}),
    ],
)
def test_what_is_missing_is_left_out(
    document: Callable[..., Document],
    tmp_path: Path,
    shape: dict[str, Any],
    change: Callable[[Document], None] | None,
    missing: set[str],
) -> None:
    results = document(**shape)
    if change is not None:
        change(results)
    found = set(read_page(results, tmp_path).ids) & SECTIONS
    assert found == SECTIONS - missing


def test_twenty_tasks(document: Callable[..., Document], tmp_path: Path) -> None:
    names = tuple(f"customer-{index:02}" for index in range(20))
    page = read_page(document(tasks=names, epochs=1, images=0), tmp_path)
    assert all(page.text.count(name) >= 4 for name in names)


def test_names_are_text_whatever_they_hold(document: Callable[..., Document], tmp_path: Path) -> None:
    names = ("<script>alert(1)</script>", '" onload="x', "_$x^2$ & 任务 ünï", "n" * 50, "\x00\x1b")
    results = document(tasks=names)
    for run in results["runs"]:
        run["label"] = f"_<u>{run['label']}</u>"
        run["predictions"][0]["predicted"] = "<img src=x>"
        run["settings"]["note"] = "<s>"
    results["environment"]["<u>"] = "</pre>"
    page = read_page(results, tmp_path)
    assert not {"u", "s", "script"} & set(page.tags)
    assert all(name in page.text for name in names[:4])
    assert "<img src=x>" in page.text
    assert "_<u>FTN R=4</u>" in page.text


def test_failed_runs_and_broken_promises_are_shown(document: Callable[..., Document], tmp_path: Path) -> None:
    results = document()
    results["runs"][0].update(failed="loss is not finite at step 12", metrics={})
    results["isolation"][1].update(after="cd" * 32, identical=False)
    results["mixed_batch"]["agreement"] = 0.75
    text = read_page(results, tmp_path).text
    assert "head only on mnist, seed 0: loss is not finite at step 12" in text
    assert "Bit-identical in 2 of 3" in text
    assert "✗ changed" in text
    assert "75.0 % of the rows" in text


def test_the_same_document_gives_the_same_bytes(document: Callable[..., Document], tmp_path: Path) -> None:
    source = tmp_path / "results.json"
    results = document(tasks=("mnist",))
    source.write_text(json.dumps(results))
    first = write_report(source, tmp_path / "a.html").read_bytes()
    assert first == write_report(results, tmp_path / "new folder" / "b.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "new folder", "results.json"]


def test_a_bad_document_or_target_leaves_the_old_report(document: Callable[..., Document], tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")
    untitled = document()
    del untitled["title"]
    with pytest.raises(ValueError, match="title is missing"):
        write_report(untitled, out)
    with pytest.raises(ValueError, match=r"out must end in \.html.*results\.json"):
        write_report(document(), tmp_path / "results.json")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ValueError, match="found the folder"):
        write_report(document(), tmp_path / "folder.html")
    assert out.read_text() == "old"


def test_an_interrupted_write_leaves_the_old_report(
    document: Callable[..., Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(document(tasks=("mnist",)), out)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert out.read_text() == "old"


@pytest.mark.parametrize("package", ["matplotlib", "jinja2", "scipy.cluster.hierarchy"])
def test_a_missing_extra_is_named(
    document: Callable[..., Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("taskfold.report.") and "schema" not in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    name = package.partition(".")[0]
    with pytest.raises(ImportError, match=rf'needs {name}: pip install "taskfold\[report\]"'):
        write_report(document(), tmp_path / "report.html")
