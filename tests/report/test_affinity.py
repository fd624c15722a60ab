"""Affinities in a results document are the measured ones, and figures show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from taskfold.report import ResultsError, affinity_record, read_results
from taskfold.report.figures import affinity as drawn
from taskfold.report.record import affinity_tables
from taskfold.report.schema import AffinityMap
from taskfold.train import Affinity, Gains

from .page import read_page


def measured(total: int) -> Affinity:
    """Tasks in two camps, even and odd ones."""
    dice = torch.Generator().manual_seed(0)
    camps = torch.arange(total) % 2
    base = torch.where(camps[:, None] == camps, 0.02, -0.01)
    seen = Gains.over(base + 0.001 * torch.randn(5, total, total, generator=dice))
    names = tuple(f"task {n}" for n in range(total))
    more = {"by": "linear", "count": None, "steps": 50, "measurements": 5, "seconds": 1.0}
    return Affinity(tasks=names, losses=(1.0,) * total, linear=seen, lookahead=None, cosine=seen, **more)


def test_tasks_of_a_group_stand_beside_each_other() -> None:
    found = measured(5)
    record = AffinityMap.model_validate(affinity_record(found, "Poly"))
    assert record.groups == (("task 0", "task 2", "task 4"), ("task 1", "task 3"))
    assert record.tasks == ("task 0", "task 2", "task 4", "task 1", "task 3")
    assert record.matrices[0].mean[1][3] == found.linear.mean[2][1]
    figure = drawn.figure(record, record.matrices[0])
    assert figure is not None
    image = np.ma.filled(np.ma.asarray(figure.axes[0].images[0].get_array()), np.nan)
    wanted = 100 * np.array(record.matrices[0].mean)
    np.fill_diagonal(wanted, np.nan)
    np.testing.assert_allclose(image, wanted)
    assert len(figure.axes[0].patches) == 2
    assert len(figure.axes[0].texts) == 20


@pytest.mark.parametrize(("total", "first"), [(4, "a step for"), (12, "tasks")])
def test_tables_and_page(tmp_path: Path, total: int, first: str) -> None:
    found = measured(total)
    tables = affinity_tables(found)
    assert tables[0]["first"] == first
    gains = {row["label"]: row["cells"][1] for row in tables[1]["rows"]}
    assert gains["these groups"] > 0 == gains["each by itself"]
    assert gains["these groups"] > gains["all together"]
    document = {
        "version": 1,
        "title": "affinity",
        "backbone": {"name": "net", "parameters": 1},
        "tasks": [{"name": name} for name in found.tasks],
        "affinity": [affinity_record(found, "Poly")],
        "comparisons": tables,
    }
    page = read_page(document, tmp_path)
    assert {"affinity-0-linear", "affinity-0-cosine"} <= {*page.ids}
    assert "affinity-0-lookahead" not in page.ids
    document["affinity"][0]["groups"] = [["task 0"]]  # type: ignore[index]
    with pytest.raises(ResultsError, match="groups must hold each task once"):
        read_results(document)
