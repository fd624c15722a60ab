"""Several maps from one image, in the small form, on rooms that are rendered here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from taskfold.report import read_results
from taskfold.tasks import read_header
from taskfold_demos.jobs import SINGLE, DenseBench, dense_contenders, dense_document, dense_plan, run_dense_demo

pytest.importorskip("pybullet")

PLAN = replace(dense_plan("quick"), train=4, val=2, test=4, size=(32, 64), epochs=1, batch_size=2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rooms")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("dense")
    with pytest.MonkeyPatch.context() as patch, (folder / "said.txt").open("w") as said:
        patch.setenv("TASKFOLD_DATA", str(cache))
        patch.setattr("os.cpu_count", lambda: 1)
        run_dense_demo(PLAN, folder / "out", console=Console(file=said, width=120))
    return folder / "out", (folder / "said.txt").read_text()


def test_the_quick_demo_does_every_step(done: tuple[Path, str]) -> None:
    out, said = done
    results = read_results(out / "results.json")
    labels = [SINGLE, "multi-task", "over-parameterised", "FTN R=10"]
    assert [row.label for row in results.comparisons[0].rows] == labels
    assert [row.label for row in results.gains[0].rows] == labels[1:]
    assert [scene.name for scene in results.scenes[0].images] == ["room 0", "room 2"]
    assert results.scenes[0].methods == tuple(labels)
    assert "Failed" not in [one.title for one in results.comparisons]
    assert "each task contracts to the plain network" in said
    report = (out / "report.html").read_text()
    assert "Gain over single-task networks" in report and "Test rooms" in report


def test_its_files_are_tasks_and_what_they_share(done: tuple[Path, str]) -> None:
    folder = done[0] / "tasks" / "over-parameterised"
    assert {path.stem for path in folder.iterdir()} == {"segmentation", "depth", "normals", "inventory"}
    assert read_header(folder / "depth.safetensors")["inventory"]["fingerprint"]
    assert not (done[0] / "tasks" / "single-task" / "inventory.safetensors").exists()


def test_what_fails_is_recorded_and_shown(done: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("TASKFOLD_DATA", str(cache))
    bench = DenseBench(PLAN, None, done[0] / "networks", say=lambda _: None)
    one = dense_contenders()["multi-task"]
    good, bad = bench.run(dense_contenders()["decoder only"], 0), bench.run(replace(one, lr=1e30), 0)
    assert "failed" in bad
    document = dense_document(bench, [good, bad], title="here", command="here")
    failed = document["comparisons"][-1]
    assert (failed["title"], failed["rows"][0]["label"]) == ("Failed", "multi-task, seed 0")
    json.dumps(document)
    # A network that has learned segmentation keeps it, bit for bit; what is new is trained on it.
    parts = good["training"]["parts"]
    assert [len(part["curve"]) for part in parts] == [0, 1, 1]
    single = json.loads((done[0] / "results.json").read_text())["comparisons"][0]["rows"][0]["cells"]
    assert good["scores"]["segmentation"]["miou"] == single[1]["mean"]


def test_plans() -> None:
    assert [one.label for one in dense_plan("frozen").contenders][-4:] == [f"FTN R={rank}" for rank in (1, 10, 20, 30)]
    assert len(dense_plan("full", compare="all").contenders) > len(dense_plan("full").contenders)
    iterative = dense_contenders()["over-parameterised"].settings(dense_plan(), 0)
    assert iterative.phases is not None
    warm_up, both = iterative.phases
    assert [turn.groups for turn in both.passes] == [("diagonal",), ()]
    assert (warm_up.passes, iterative.epochs - (warm_up.epochs or 0)) == (both.passes[:1], dense_plan().epochs)
    with pytest.raises(ValueError, match="size='large' is not known; choose one of demo, full, frozen, quick"):
        dense_plan("large")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seeds must hold at least one"):
        dense_plan(seeds=())
