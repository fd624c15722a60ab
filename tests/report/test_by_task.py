"""One method on many tasks: the worth of each, worst first, on a page that stays small."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from taskfold.report import read_results, summary_table

from .page import read_page
from .runs import document

FTN = (("ftn", "FTN R=4", 4, 128_000, 0.91),)
KINDS = ("better", "no better", "undecided")


def photo(seed: int, side: int = 96) -> str:
    """A picture that compresses as badly as a photograph."""
    noise = np.random.default_rng(seed).normal(128, 40, (side // 8, side // 8, 3)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
    pixels = np.asarray(image) + np.random.default_rng(seed).integers(0, 9, (side, side, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def customers(count: int = 30, pictures: int = 12) -> dict[str, Any]:
    """Thirty tasks of one method; every third no better than its largest class, every third too small to tell."""
    names = tuple(f"cust-{number:02}" for number in range(1, count + 1))
    found = document(names, methods=FTN, epochs=1, images=0)
    labels, made = ["crack", "fine", "scratch"], [photo(seed) for seed in range(12)]
    found["confusions"] = []
    for number, (task, run) in enumerate(zip(found["tasks"], found["runs"], strict=True)):
        kind = KINDS[number % 3]
        cells = {
            "better": [[30 + number, 2, 1], [1, 60, 2], [0, 3, 40]],
            "no better": [[0, 57, 0], [0, 138, 0], [0, 0, 0]],
            "undecided": [[3, 1, 0], [1, 2, 0], [0, 0, 0]],
        }[kind]
        total = sum(map(sum, cells))
        task |= {"labels": labels, "test": total, "notes": ["val: set aside, seed 0", f"test: {total} images"]}
        run["metrics"]["test_accuracy"] = sum(cells[n][n] for n in range(3)) / total
        run["predictions"] = [
            {"image": made[n], "target": "crack", "predicted": "fine", "confidence": 0.5 + n / 30}
            for n in range(pictures)
        ]
        found["confusions"].append({"task": task["name"], "labels": labels, "cells": cells})
    return found


def test_the_page_has_a_row_for_each_task_and_stays_below_two_megabytes(tmp_path: Path) -> None:
    page = read_page(customers(), tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert len(html) < 2_000_000
    names = re.findall(r'href="#task-(cust-\d\d)"', html)
    assert len(names) == 30 and names[:10] == [f"cust-{number:02}" for number in range(2, 30, 3)]
    always = "than always answering the largest class"
    assert f"10 better {always}, 10 with too few test samples to tell, 10 no better {always}." in page.text
    assert "parameters" not in page.ids and "samples" not in page.ids  # no plot with one dot, no pictures twice
    assert html.count("val: set aside, seed 0") == 30  # each beside its task, and nowhere else
    assert html.count("data:image/png;base64") >= 30


def test_each_order_is_one_of_all_rows(tmp_path: Path) -> None:
    read_page(customers(5, pictures=1), tmp_path)
    html = (tmp_path / "report.html").read_text()
    for sort in range(7):
        assert sorted(map(int, re.findall(rf"--by-{sort}: (\d+);", html))) == list(range(5))


def test_the_most_certain_mistakes_come_first(tmp_path: Path) -> None:
    read_page(customers(2, pictures=12), tmp_path)
    shares = re.findall(r"<small>(\d+) %</small>", (tmp_path / "report.html").read_text())
    assert shares[:6] == ["87", "83", "80", "77", "73", "70"]


def test_of_many_classes_the_worst_pairs_are_named(tmp_path: Path) -> None:
    found = customers(2)
    size = 40
    cells = [[10 * (row == column) + 3 * (row == 7 and column == 9) for column in range(size)] for row in range(size)]
    found["confusions"][0] |= {"labels": [f"kind {n}" for n in range(size)], "cells": cells}
    text = read_page(found, tmp_path).text
    assert "kind 7 is taken for kind 9 in 3 of 13" in text


def test_the_console_has_a_row_for_each_task_worst_first() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(summary_table(customers(6)))
    lines = [line for line in console.export_text().splitlines() if "cust-" in line]
    assert [line.split()[0] for line in lines] == ["cust-02", "cust-05", "cust-03", "cust-06", "cust-01", "cust-04"]
    assert "70.8 (64.0 to 76.7)" in lines[0] and "0.0 crack" in lines[0]
    assert "no better" in lines[0]


@pytest.mark.parametrize("other", ["seeds", "methods", "one task"])
def test_other_results_look_as_before(other: str, tmp_path: Path) -> None:
    given = {"seeds": {"seeds": 2, "methods": FTN}, "methods": {}, "one task": {"tasks": ("a",), "methods": FTN}}[other]
    page = read_page(document(**given), tmp_path)
    assert "by-task" not in page.ids and "table" in page.ids
    assert read_results(document(**given)).confusions == ()
