"""Regression, multi-label and ordinal tasks on the command line, from a table of images to answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskfold.cli import _images
from taskfold.report import read_results
from taskfold.tasks import read_header

from . import project
from .conftest import Run, trained_in
from .served import answers, holds, served

CODE = """
from pathlib import Path
import torch

def off(outputs, targets):
    return (outputs - targets).abs().max()

def robust(outputs, targets):
    return torch.nn.functional.smooth_l1_loss(outputs, targets, reduction="none").mean(1)

def squares():
    root = Path(__file__).parent
    rows = [(root / f"{kind}{n}.png", 100.0 + 50 * (kind == "red")) for kind in ("red", "blue") for n in range(12)]
    return {"train": rows}
"""
TASKS: list[dict[str, Any]] = [
    {
        "name": "price",
        "source": {"kind": "csv", "file": "squares.csv"},
        "problem": {"kind": "regression", "columns": ["price"]},
    },
    {
        "name": "both",
        "source": {"kind": "csv", "file": "squares.csv"},
        "problem": {
            "kind": "regression",
            "columns": ["price", "size"],
            "loss": "code.py:robust",
            "metrics": ["code.py:off"],
        },
    },
    {
        "name": "tags",
        "source": {"kind": "csv", "file": "squares.csv"},
        "problem": {"kind": "multi-label", "columns": ["tags"]},
    },
    {
        "name": "grade",
        "source": {"kind": "csv", "file": "squares.csv"},
        "problem": {"kind": "ordinal", "columns": ["grade"], "order": ["poor", "fair", "good"]},
    },
    {"name": "kind", "source": {"kind": "csv", "file": "squares.csv"}, "problem": {"columns": ["grade"]}},
    {"name": "own", "source": {"kind": "python", "function": "code.py:squares"}, "problem": "regression"},
]
ROWS = {"red": (150, "warm;loud", "good"), "green": (120, "loud", "fair"), "blue": (100, "", "poor")}


def write(folder: Path, **changes: Any) -> Path:
    """A table of coloured squares, and six tasks on it."""
    (folder / "net.py").write_text(project.BACKBONE)
    (folder / "code.py").write_text(CODE)
    lines = ["path,price,size,tags,grade"]
    for kind, (price, tags, grade) in ROWS.items():
        for number in range(12):
            project.square(folder / f"{kind}{number}.png", project.COLOURS[kind], number)
            lines.append(f"{kind}{number}.png,{price},{price / 1000},{tags},{grade}")
    (folder / "squares.csv").write_text("\n".join(lines))
    document = {
        "backbone": "net.py:build",
        "method": {"name": "ftn", "rank": 2},
        "train": {"epochs": 15, "batch_size": 8, "optimizers": {"factors": {"lr": 0.02}, "head": {"lr": 0.05}}},
        "image_size": 8,
        "output": "runs",
        "tasks": TASKS,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**document, **changes}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """The folder of a trained project; not to be changed."""
    return trained_in(tmp_path_factory.mktemp("problems"), write, run, drawn=True)


def files(folder: Path, *names: str) -> list[Path]:
    return [folder / "runs" / "tasks" / f"{name}.safetensors" for name in names]


def test_files_say_what_outputs_mean(trained: Path) -> None:
    price, both, tags, grade, kind, own = (
        read_header(file)["info"] for file in files(trained, "price", "both", "tags", "grade", "kind", "own")
    )
    assert price["problem"] == {"kind": "regression", "columns": ["price"]}
    assert (both["labels"], own["labels"]) == (["price", "size"], ["label"])
    assert (tags["labels"], tags["problem"]["kind"]) == (["loud", "warm"], "multi-label")
    assert (grade["labels"], grade["problem"]["order"]) == (["poor", "fair", "good"], ["poor", "fair", "good"])
    assert (kind["labels"], kind["problem"]) == (["fair", "good", "poor"], {})
    assert price["metrics"]["test_r2"] > 0.8
    assert "test_off" in both["metrics"]
    assert str(trained) not in json.dumps([price, both, tags, grade, kind, own])


def test_metrics_of_ones_own_look_at_the_test_data_once(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code.py").write_text("def share(said, right):\n    return (said.argmax(1) == right).float().mean()\n")
    passes, whole = list[str](), _images.outputs_of
    monkeypatch.setattr(
        _images, "outputs_of", lambda model, name, *a, **b: passes.append(name) or whole(model, name, *a, **b)
    )
    monkeypatch.setattr(_images, "score", lambda *given, **named: pytest.fail("another pass"))
    config = project.write(tmp_path, train={"epochs": 1}, problem={"metrics": ["code.py:share"]})
    assert run("train", config).exit_code == 0
    runs = json.loads((tmp_path / "runs" / "results.json").read_text())["runs"]
    assert passes == ["warm", "all"]
    for one in runs:
        assert one["metrics"]["test_share"] == pytest.approx(one["metrics"]["test_accuracy"])


def test_results_have_a_table_for_each_problem(trained: Path) -> None:
    results = read_results(trained / "runs" / "results.json")
    tables = {table.title: [row.label for row in table.rows] for table in results.comparisons if table.first == "task"}
    assert tables == {"Numbers": ["price", "both", "own", "mean"], "Any number of labels": ["tags"]}
    numbers = next(table for table in results.comparisons if table.title == "Numbers")
    means = dict(zip([column.title for column in numbers.columns], numbers.rows[-1].cells, strict=True))
    assert means["MAE"].mean is None  # prices and grams have no mean
    assert means["numbers"].mean is not None
    assert [run.task for run in results.runs] == ["grade", "kind"]
    assert [one.task for one in results.confusions] == ["grade", "kind"]
    assert "<html" in (trained / "runs" / "report.html").read_text()


def test_measured_again_from_the_configuration_and_from_files(trained: Path, run: Run) -> None:
    found = json.loads(run("evaluate", trained / "config.yaml", "--json").stdout)["tasks"]
    for one in found:
        info = read_header(Path(one["file"]))["info"]
        main = {"regression": "r2", "multi-label": "macro_f1"}.get(one.get("problem", ""), "accuracy")
        assert one[main] == pytest.approx(info["metrics"][f"test_{main}"], abs=1e-5)
    data = "--data", f"{{kind: csv, file: {trained}/squares.csv}}"
    result = run("evaluate", *files(trained, "price", "tags", "grade"), *data, "--json")
    assert result.exit_code == 0, result.stderr
    assert [(one["count"], one["left_out"]) for one in json.loads(result.stdout)["tasks"]] == [(6, 30)] * 3
    shown = run("evaluate", *files(trained, "price"), *data).stdout
    assert all(title in shown for title in ("R²", "MAE", "RMSE"))


def test_a_server_answers_every_problem_as_predict_does(trained: Path, run: Run) -> None:
    names = ["price", "both", "tags", "grade", "kind", "own"]
    image = trained / "red0.png"
    wanted = json.loads(run("predict", *files(trained, *names), image, "--json").stdout)["predictions"]
    with served(run, trained / "runs") as client:
        found = {one["task"]: one for one in answers(client.post("/predict?task=*", content=image.read_bytes()))}
        for one in wanted:
            said = {key: value for key, value in one.items() if key != "image"}
            assert holds(found.pop(one["task"]), said)
        assert not found
        refused = client.post("/predict?task=price&choices=a", content=image.read_bytes())
        assert (refused.status_code, "choices are for tasks that answer texts" in refused.text) == (400, True)


def test_one_batch_answers_every_task_in_its_shape(trained: Path, run: Run) -> None:
    result = run("predict", *files(trained, "price", "both", "tags", "grade"), trained / "red0.png", "--json")
    price, both, tags, grade = json.loads(result.stdout)["predictions"]
    assert price["value"] == pytest.approx(150, abs=15)
    assert both["values"].keys() == {"price", "size"}
    assert both["values"]["size"] == pytest.approx(0.15, abs=0.03)
    assert tags["labels"] == ["loud", "warm"]
    assert (grade["label"], grade["said"]) == ("good", "good")
    assert 0 < grade["probability"] < 1
    shown = run("predict", *files(trained, "price", "tags"), trained / "red0.png").stdout
    assert "loud, warm" in shown


def test_inspected_and_exported(trained: Path, run: Run, tmp_path: Path) -> None:
    shown = run("inspect", *files(trained, "tags")).stdout
    assert "multi-label" in shown
    assert "threshold=0.5" in shown
    result = run("export", *files(trained, "price", "tags"), "--output", tmp_path / "two.onnx")
    assert result.exit_code == 0, result.stderr
    said = json.loads((tmp_path / "two.json").read_text())["tasks"]
    assert [one["problem"]["kind"] for one in said] == ["regression", "multi-label"]


def test_a_finished_run_is_read_and_another_problem_is_trained_anew(trained: Path, tmp_path: Path, run: Run) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    folder = tmp_path / "copy"
    before = [file.read_bytes() for file in files(folder, "price", "tags")]
    result = run("train", write(folder))
    assert result.exit_code == 0, result.stderr
    assert [file.read_bytes() for file in files(folder, "price", "tags")] == before
    tasks = [{**TASKS[0], "problem": {**TASKS[0]["problem"], "loss": "mae"}}, *TASKS[1:]]
    result = run("train", write(folder, tasks=tasks))
    assert result.exit_code == 0, result.stderr
    price, tags = (file.read_bytes() for file in files(folder, "price", "tags"))
    assert price != before[0]
    assert tags == before[1]


def test_tasks_of_several_problems_train_together(tmp_path: Path, run: Run) -> None:
    tasks = [
        {**task, "method": {"name": "lora", "sharing": "shared"}}
        for task in TASKS
        if task["name"] in ("price", "tags", "kind")
    ]
    config = write(tmp_path, tasks=tasks, together=True, method="lora")
    result = run("train", config)
    assert result.exit_code == 0, result.stderr
    found = run("predict", *files(tmp_path, "price", "tags", "kind"), tmp_path / "blue0.png", "--json")
    price, tags, kind = json.loads(found.stdout)["predictions"]
    assert price["value"] == pytest.approx(100, abs=25)
    assert (tags["labels"], kind["label"]) == ([], "poor")


@pytest.mark.parametrize(
    ("cell", "column", "problem", "message"),
    [
        ("cheap", "price", TASKS[0]["problem"], "line 2: price must be a finite number, found 'cheap'"),
        ("nan", "price", TASKS[0]["problem"], "line 2: price must be a finite number, found 'nan'"),
        ("", "price", TASKS[0]["problem"], "line 2: price must be a finite number, found ''"),
        ("1e39", "price", TASKS[0]["problem"], "line 2: price must be a finite number, up to 3.4e+38, found '1e39'"),
        ("1,2", "price", TASKS[0]["problem"], "line 2: must have 5 values"),
        ("superb", "grade", TASKS[3]["problem"], "'superb' is none of the levels of problem.order: poor, fair, good"),
        ("x", "grade", {"kind": "ordinal", "columns": ["grade"]}, "list them from the lowest to the highest"),
        ("a;a", "tags", TASKS[2]["problem"], "line 2: tags has 'a' twice"),
        ("1", "size", {"kind": "regression", "columns": ["width"]}, "must have a column 'width'"),
    ],
)
def test_bad_labels_are_refused_before_training(
    tmp_path: Path, run: Run, cell: str, column: str, problem: dict[str, Any], message: str
) -> None:
    config = write(tmp_path, tasks=[{**TASKS[0], "problem": problem}], train={"epochs": 1, "batch_size": 8})
    header, first, *rest = (tmp_path / "squares.csv").read_text().splitlines()
    values = dict(zip(header.split(","), first.split(","), strict=True)) | {column: cell}
    (tmp_path / "squares.csv").write_text("\n".join([header, ",".join(values.values()), *rest]))
    result = run("train", config)
    assert result.exit_code == 1
    assert "tasks[0].source: " in result.stderr
    assert message in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem": "regresion"}, "tasks[0].problem.kind: kind 'regresion' is not known; did you mean regression?"),
        (
            {"problem": {"kind": "regression", "colums": ["a"]}},
            "tasks[0].problem.colums: key is not known; did you mean columns?",
        ),
        (
            {"problem": {"kind": "regression", "loss": "msse"}},
            "loss must be one of mse, mae, huber, or module:function, found 'msse'",
        ),
        (
            {"problem": {"kind": "regression", "loss": "code.py:none"}},
            "has no function 'none'; it has Path, off, robust, squares",
        ),
        (
            {"problem": {"kind": "regression", "metrics": ["nowhere:f"]}},
            "found 'nowhere:f', whose module does not exist",
        ),
        ({"problem": {"kind": "multi-label", "threshold": 2.0}}, "threshold must be between 0 and 1, found 2.0"),
        ({"problem": {"kind": "ordinal", "order": ["a"]}}, "order must be two levels or more"),
        (
            {"train": {"select_by": "accuracy"}},
            "tasks[0].train.select_by: must be auto or mae or rmse or r2 or loss or last for these tasks, found",
        ),
        (
            {"train": {"class_weights": "balanced"}},
            "tasks[0].train: class_weights='balanced' is for images with one class and its usual loss, and task "
            "'price' has numbers; leave class_weights out",
        ),
        ({"train": {"folds": 2}}, "tasks[0].train: folds=2 is for images with one class"),
        (
            {"problem": {"columns": ["grade"]}, "train": {"class_weights": [1, 2]}},
            "tasks[0].train: class_weights has 2 numbers, and task 'price' has 3 classes",
        ),
        (
            {"source": {"kind": "packaged", "name": "digits"}},
            "gives every image one class, and problem 'regression' asks for numbers",
        ),
        ({"source": {"kind": "python", "function": "code.py:off"}}, "function: "),
        ({"source": {"kind": "examples", "file": "x.csv"}}, "problem: is for tasks of images, and these have texts"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, run: Run, changes: dict[str, Any], message: str) -> None:
    result = run("train", write(tmp_path, tasks=[{**TASKS[0], **changes}]))
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "runs").exists()


def test_new_problems_are_transferred_from_a_joint_training(tmp_path: Path, run: Run) -> None:
    joint = [{**TASKS[4], "name": name} for name in ("first", "second")]
    method = {"name": "poly", "rank": 1, "skills": 2}
    config = write(tmp_path, tasks=joint, method=method, together={"epochs": 1, "batch_size": 16})
    said = yaml.safe_load(config.read_text())
    del said["train"]
    config.write_text(yaml.safe_dump(said))
    assert run("train", config).exit_code == 0
    train = {"epochs": 8, "batch_size": 8, "optimizers": {"head": {"lr": 0.05}}}
    document = {"from": "runs", "shots": 12, "train": train, "image_size": 8, "output": "few", "tasks": TASKS[:4]}
    few = tmp_path / "few.yaml"
    few.write_text(yaml.safe_dump(document))
    result = run("transfer", few)
    assert result.exit_code == 0, result.stderr
    found = json.loads(run("evaluate", few, "--json").stdout)["tasks"]
    assert [one.get("problem", "") for one in found] == [
        "regression",
        "regression",
        "multi-label",
        "ordinal",
    ]
    kept = [read_header(tmp_path / "few" / "tasks" / f"{one['name']}.safetensors")["info"] for one in TASKS[:4]]
    assert [one["problem"]["kind"] for one in kept] == [one["problem"] for one in found]
    assert found[0]["mae"] == pytest.approx(kept[0]["metrics"]["test_mae"], abs=1e-5)
    assert found[0]["mae"] < 50  # euros of 100 to 150: the head puts out the labels' units
