"""The life of a task: a finished one is read, a changed one is trained again, and no version is lost."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import ImageOps

from taskfold.cli import _trainings
from taskfold.cli._images import ImageTask
from taskfold.data import open_image
from taskfold.report import read_results
from taskfold.tasks import Store

from . import project
from .conftest import Run, trained_in

TRAIN = {"epochs": 2, "batch_size": 8}
Read = Callable[..., None]


def task(name: str, root: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, "source": {"kind": "folder", "root": f"data/{root or name}"}, **more}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A project of two tasks that are trained; not to be changed."""
    return trained_in(tmp_path_factory.mktemp("life"), lambda folder: project.write(folder, train=TRAIN), run)


@pytest.fixture
def life(lived: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(lived, tmp_path / "life")
    return tmp_path / "life"


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What was trained and what was tested, counted."""
    found = Counter[str]()
    train, test = _trainings.train_task, ImageTask.test

    def training(model: Any, name: str, *given: Any, **named: Any) -> Any:
        found[f"trained {name}"] += 1
        return train(model, name, *given, **named)

    def testing(self: ImageTask, *given: Any) -> Any:
        found[f"tested {self.name}"] += 1
        return test(self, *given)

    monkeypatch.setattr(_trainings, "train_task", training)
    monkeypatch.setattr(ImageTask, "test", testing)
    return found


def store(folder: Path) -> Store:
    return Store(folder / "runs" / "tasks")


def accuracies(folder: Path) -> dict[str, float]:
    document = json.loads((folder / "runs" / "results.json").read_text())
    return {one["task"]: one["metrics"]["test_accuracy"] for one in document["runs"]}


def test_adding_a_task_costs_that_task_alone(life: Path, worked: Counter[str], run: Run) -> None:
    project.images(life / "data" / "cold", ["blue", "green"])
    before = accuracies(life)
    tasks = [task("warm"), task("cold"), task("all", method={"rank": 3})]
    result = run("train", project.write(life, train=TRAIN, tasks=tasks))
    assert result.exit_code == 0, result.output
    assert worked == {"trained cold": 1, "tested cold": 1}
    assert "warm: finished before, test accuracy" in result.stderr and "Note: warm" not in result.stderr
    assert list(accuracies(life)) == ["warm", "cold", "all"]
    assert {name: value for name, value in accuracies(life).items() if name != "cold"} == before


def test_changed_settings_of_one_task_retrain_it_and_its_file_stays(life: Path, worked: Counter[str], run: Run) -> None:
    first = store(life).digest("all")
    result = run("train", project.write(life, train=TRAIN, tasks=[task("warm"), task("all", method={"rank": 4})]))
    assert result.exit_code == 0, result.output
    assert worked == {"trained all": 1, "tested all": 1}
    assert "all is trained anew: method.settings.rank was 3, is now 4" in result.stderr
    versions = store(life).versions("all")
    assert [version.digest == first for version in versions] == [True, False] and versions[1].current
    # What was trained so before is there already.
    result = run("train", project.write(life, train=TRAIN))
    assert result.exit_code == 0 and store(life).digest("all") == first
    assert worked == {"trained all": 1, "tested all": 1}


@pytest.mark.parametrize("where", ["elsewhere", "in place"])
def test_other_images_under_the_same_names_are_other_data(
    where: str, life: Path, worked: Counter[str], run: Run
) -> None:
    root = life / "data" / "warm"
    if where == "elsewhere":
        root = shutil.copytree(root, life / "data" / "again")
    for file in root.rglob("*.png"):
        ImageOps.invert(open_image(file)).save(file)
    tasks = [task("warm", root.name), task("all", method={"rank": 3})]
    result = run(
        "train", project.write(life, train=TRAIN, tasks=tasks) if where == "elsewhere" else life / "config.yaml"
    )
    assert result.exit_code == 0, result.output
    assert worked["trained warm"] == 1 and worked["trained all"] == 0
    assert "warm is trained anew: data.train was " in result.stderr


def test_a_folder_that_moved_is_the_same_data(life: Path, worked: Counter[str], run: Run) -> None:
    shutil.move(life / "data" / "warm", life / "data" / "moved")
    tasks = [task("warm", "moved"), task("all", method={"rank": 3})]
    (life / "config.yaml").unlink()
    config = project.write(life, train=TRAIN, tasks=tasks)
    assert run("train", config).exit_code == 0
    assert not worked


def test_other_test_images_are_measured_and_nothing_is_trained(tmp_path: Path, worked: Counter[str], run: Run) -> None:
    for split in ("train", "val", "test"):
        project.images(tmp_path / "data" / "split" / split, ["blue", "red"], 4)
    config = project.write(tmp_path, train=TRAIN, tasks=[task("split")])
    assert run("train", config).exit_code == 0
    first = store(tmp_path).digest("split")
    project.square(tmp_path / "data" / "split" / "test" / "red" / "9.png", (40, 40, 220), 9)
    result = run("train", config)
    assert result.exit_code == 0, result.output
    assert worked == {"trained split": 1, "tested split": 2}
    assert "measured on other test data" in result.stderr and store(tmp_path).digest("split") != first
    assert run("train", config).exit_code == 0 and worked["tested split"] == 2


@pytest.mark.parametrize("moment", ["after the claim", "within the claim"])
def test_a_fresh_start_that_is_interrupted_does_not_return_the_old_model(
    moment: str, life: Path, worked: Counter[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in (life / "data" / "warm").rglob("*.png"):
        ImageOps.invert(open_image(file)).save(file)

    def interrupted(*given: Any, **named: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "after the claim":
            patch.setattr(_trainings, "train_task", interrupted)
        else:
            patch.setattr("taskfold.cli._same_data.write_atomically", interrupted)
        assert run("train", life / "config.yaml", "--fresh").exit_code == 130
    first = store(life).digest("warm")
    assert run("train", life / "config.yaml").exit_code == 0
    assert worked["trained warm"] == 1 and store(life).digest("warm") != first


def test_an_unfinished_training_is_not_given_up_for_other_settings(
    life: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = project.write(life, train=TRAIN | {"seed": 1})
    with monkeypatch.context() as patch:
        patch.setattr(_trainings, "publish", lambda *given, **named: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run("train", changed).exit_code == 130
    kept = life / "runs" / "train" / "warm" / "checkpoint.safetensors"
    before = kept.read_bytes()
    result = run("train", project.write(life, train=TRAIN | {"seed": 2}))
    assert result.exit_code == 1
    assert "task 'warm' began with other settings or data: train.seed was 1, is now 2" in result.stderr
    assert "--fresh" in result.stderr and kept.read_bytes() == before


def test_one_task_alone_is_trained_again(life: Path, worked: Counter[str], run: Run) -> None:
    result = run("train", life / "config.yaml", "--task", "all", "--fresh")
    assert result.exit_code == 0, result.output
    assert worked == {"trained all": 1, "tested all": 1}
    assert list(accuracies(life)) == ["warm", "all"]
    result = run("train", life / "config.yaml", "--task", "al")
    assert result.exit_code == 1 and "there is no task 'al'; there are warm, all" in result.stderr


def test_a_version_that_was_rolled_back_to_stays(life: Path, worked: Counter[str], run: Run) -> None:
    first = store(life).digest("all")
    tasks = [task("warm"), task("all", method={"rank": 4})]
    config = project.write(life, train=TRAIN, tasks=tasks)
    assert run("train", config).exit_code == 0
    store(life).rollback("all")
    worked.clear()
    result = run("train", config)
    assert result.exit_code == 0 and not worked and store(life).digest("all") == first
    assert f"all: rolled back to version {first}" in result.stderr


def test_a_task_that_is_not_in_the_configuration_any_more_leaves_the_folder(life: Path, run: Run) -> None:
    result = run("train", project.write(life, train=TRAIN, tasks=[task("warm")]))
    assert result.exit_code == 0 and store(life).names() == ["warm"]
    assert "all is not in config.yaml any more" in result.stderr
    assert store(life).rollback("all").current


def test_tasks_are_listed_and_shown_with_their_versions(life: Path, run: Run) -> None:
    config = project.write(life, train=TRAIN, tasks=[task("warm"), task("all", method={"rank": 4})])
    assert run("train", config).exit_code == 0
    listed = json.loads(run("tasks", "list", life / "runs", "--json").stdout)
    assert [(one["task"], one["versions"]) for one in listed] == [("all", 2), ("warm", 1)]
    assert "test accuracy" in listed[0]["scores"]
    first, second = json.loads(run("tasks", "show", life / "runs", "all", "--json").stdout)
    assert second["changed"] == "method.settings.rank was 3, is now 4" and second["current"] and not first["current"]
    shown = run("tasks", "diff", life / "runs", "all").stdout
    assert "method.settings.rank" in shown and "labels" not in shown
    for command in ("list", "show all", "diff all " + first["version"][:4]):
        name, *more = command.split()
        assert run("tasks", name, life / "runs", *more).exit_code == 0


def test_a_renamed_task_is_not_trained_again(life: Path, worked: Counter[str], run: Run) -> None:
    assert run("tasks", "rename", life / "runs", "all", "every").exit_code == 0
    config = project.write(life, train=TRAIN, tasks=[task("warm"), task("every", "all", method={"rank": 3})])
    assert run("train", config).exit_code == 0
    assert not worked and list(accuracies(life)) == ["warm", "every"]
    assert not (life / "runs" / "tasks" / "all.safetensors").exists()
    assert run("predict", store(life).path("every"), life / "data" / "warm" / "red" / "1.png").exit_code == 0


def test_results_follow_what_becomes_of_tasks(life: Path, run: Run) -> None:
    runs, before = life / "runs", accuracies(life)
    config = project.write(life, train=TRAIN, tasks=[task("warm"), task("all", method={"rank": 4})])
    assert run("train", config).exit_code == 0
    ranks = [one["settings"]["rank"] for one in json.loads((runs / "results.json").read_text())["runs"]]
    assert run("tasks", "rollback", runs, "all").exit_code == 0
    assert "method.settings.rank" in run("tasks", "diff", runs, "all").stdout  # from the first version to the next
    again = [one["settings"]["rank"] for one in json.loads((runs / "results.json").read_text())["runs"]]
    assert (ranks, again) == ([2, 4], [2, 3]) and accuracies(life) == before
    assert run("tasks", "rename", runs, "warm", "hot").exit_code == 0
    assert list(accuracies(life)) == ["hot", "all"]
    read_results(runs / "results.json")
    assert run("tasks", "rename", runs, "hot", "all").exit_code == 1  # taken
    assert run("tasks", "remove", runs, "hot").exit_code == 0 and list(accuracies(life)) == ["all"]
    assert run("tasks", "remove", runs, "all").exit_code == 0 and list(accuracies(life)) == ["all"]


def test_settings_that_go_back_and_forth_are_no_rollback(life: Path, worked: Counter[str], run: Run) -> None:
    digests = []
    for rank in (4, 3, 4):
        tasks = [task("warm"), task("all", method={"rank": rank})]
        assert run("train", project.write(life, train=TRAIN, tasks=tasks)).exit_code == 0
        digests.append(store(life).digest("all"))
    assert digests[0] == digests[2] != digests[1] and worked["trained all"] == 1


def test_nothing_hidden_stays_but_what_files_hold(life: Path, run: Run) -> None:
    assert run("train", life / "config.yaml").exit_code == 0
    assert [path.name for path in (life / "runs").rglob(".*")] == [".contents.json"]


def test_tasks_are_removed_and_rolled_back(life: Path, run: Run) -> None:
    runs = life / "runs"
    assert run("tasks", "remove", runs, "all").exit_code == 0 and store(life).names() == ["warm"]
    assert run("tasks", "rollback", runs, "all").exit_code == 0 and store(life).names() == ["all", "warm"]
    assert run("tasks", "remove", runs, "all", "--purge").exit_code == 0
    assert "there is no task 'all'" in run("tasks", "show", runs, "all").stderr
    assert "has no version before its current one" in run("tasks", "rollback", runs, "warm").stderr
    assert "has no versions that begin with 'zz'" in run("tasks", "rollback", runs, "warm", "--to", "zz").stderr
    assert "there are no tasks in" in run("tasks", "list", life / "data").stderr


def test_a_version_can_be_used_as_any_task_file(life: Path, run: Run) -> None:
    [version] = store(life).versions("all")
    result = run("predict", version.path, life / "data" / "warm" / "red" / "1.png")
    assert result.exit_code == 0, result.output


def test_a_packed_run_is_used_by_a_colleague_without_what_it_came_from(life: Path, tmp_path: Path, run: Run) -> None:
    (life / "runs" / "train" / "secret.txt").write_text("not for others")
    packed, image = tmp_path / "shop.zip", life / "data" / "warm" / "red" / "1.png"
    assert run("pack", life / "runs", "-f", packed).exit_code == 0
    said = run("predict", store(life).path("warm"), image).stdout
    shutil.copy(image, tmp_path / "1.png")
    shutil.rmtree(life)
    result = run("unpack", packed, tmp_path / "mine")
    assert result.exit_code == 0, result.output
    mine = Store(tmp_path / "mine" / "tasks")
    assert mine.names() == ["all", "warm"] and mine.record("all") and len(mine.versions("all")) == 1
    again = run("predict", mine.path("warm"), tmp_path / "1.png")
    assert again.exit_code == 0 and again.stdout.split()[-2:] == said.split()[-2:]
    assert "backbone net.py:build" in (tmp_path / "mine" / "README.md").read_text()
    everything = [path.read_bytes() for path in (tmp_path / "mine").rglob("*.json")]
    assert not any(str(tmp_path).encode() in one for one in everything)
    assert not list((tmp_path / "mine").rglob("secret.txt"))
    assert "is not empty" in run("unpack", packed, tmp_path / "mine").stderr


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt"])
def test_a_pack_that_leads_out_of_its_folder_is_refused(name: str, tmp_path: Path, run: Run) -> None:
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        archive.writestr("run.json", "{}")
        archive.writestr(name, "out")
    result = run("unpack", tmp_path / "odd.zip", tmp_path / "new")
    assert result.exit_code == 1 and "leads out of the folder" in result.stderr and not (tmp_path / "new").exists()
    (tmp_path / "no.zip").write_bytes(b"no zip")
    assert "is no file of taskfold pack" in run("unpack", tmp_path / "no.zip", tmp_path / "new").stderr
