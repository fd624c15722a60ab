"""Tasks that share, in the small form, on the packaged words and weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from taskfold import backbones
from taskfold.report import read_results
from taskfold.tasks import read_header
from taskfold_demos import lemmas
from taskfold_demos.jobs import Bench, Way, contenders, routing_document, routing_plan, run_routing_demo, words_of

pytest.importorskip("simplemma")

_QUICK = routing_plan("quick")
WAYS: dict[str, tuple[Way, ...]] = {"LoRA shared": ("continue",), "Poly": ("all", "z"), "TensorPoly-I": ("mu", "z")}
PLAN = replace(
    _QUICK,
    contenders=tuple(replace(one, ways={way: one.ways[way] for way in WAYS[one.label]}) for one in _QUICK.contenders),
    val=2,
    test=3,
    max_bytes=8,
    together=replace(_QUICK.together, steps=2),
    transfer=replace(_QUICK.transfer, steps=2),
)
"""Every way of learning, in one method at least, of few short words."""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("routing")
    with (folder / "said.txt").open("w") as said:
        run_routing_demo(PLAN, folder / "out", console=Console(file=said, width=120))
    return folder / "out", (folder / "said.txt").read_text()


def test_the_quick_demo_does_every_step(done: tuple[Path, str]) -> None:
    out, said = done
    results = read_results(out / "results.json")
    transfer = results.comparisons[0]
    assert [row.label for row in transfer.rows] == [
        "copying the form", "backbone as it is", "LoRA shared · continued",
        "Poly · all", "Poly · z", "TensorPoly-I · mu", "TensorPoly-I · z",
    ]  # fmt: skip
    assert [one.identical for one in results.isolation] == [True, True]
    assert "No forgetting: 2 of 2 training languages" in said
    assert [one.label for one in results.routing] == ["Poly", "TensorPoly-I"]
    assert "Failed" not in [one.title for one in results.comparisons]
    assert "Routing" in (out / "report.html").read_text()


def test_what_it_keeps_are_kilobytes_that_name_their_inventory(done: tuple[Path, str]) -> None:
    tasks = done[0] / "tasks"
    files = {path.stem: path for path in tasks.glob("*.safetensors")}
    assert files.keys() == {"inventory", "Galician", "Welsh"}
    assert read_header(files["Galician"])["inventory"]["fingerprint"]
    assert files["Galician"].stat().st_size < 20_000 < files["inventory"].stat().st_size


def test_adapting_by_routing_alone_moves_few_numbers(done: tuple[Path, str]) -> None:
    """54 linear layers of 8 experts, or of tensor rank 8: methods.md counts |S| numbers for each."""
    transfer = read_results(done[0] / "results.json").comparisons[0]
    column = [one.title for one in transfer.columns].index("parameters to adapt")
    counts = {row.label: row.cells[column] for row in transfer.rows}
    for label in ("Poly · z", "TensorPoly-I · z"):
        cell = counts[label]
        assert cell is not None
        assert cell.mean == 54 * 8


def test_what_fails_is_recorded_and_shown() -> None:
    plan = replace(PLAN, training=PLAN.training[:1], held_out=PLAN.held_out[:1])
    loaded = backbones.load("packaged:lemma-t5")
    bench = Bench(plan, loaded, words_of(plan), say=lambda _: None)
    good = bench.run(replace(contenders()["LoRA private"], ways={}), 0)
    bad = bench.run(replace(contenders()["LoRA private"], lr=1e30), 0)
    assert "failed" in bad
    document: dict[str, Any] = routing_document(plan, [good, bad], bench.baselines(), (), (), loaded, command="here")
    failed = document["comparisons"][-1]
    assert (failed["title"], failed["rows"][0]["label"]) == ("Failed", "LoRA private, seed 0")
    json.dumps(document)


def test_the_full_plan_keeps_its_languages_apart() -> None:
    plan = routing_plan("full")
    assert (len(plan.training), len(plan.held_out), plan.shots) == (30, 6, (32, 128))
    assert not {*plan.training} & {*plan.held_out}
    assert len(lemmas.TRAINING) == 30
    with pytest.raises(ValueError, match="size='huge' is not known; choose one of demo, full, quick"):
        routing_plan("huge")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seeds must hold at least one"):
        routing_plan(seeds=())
