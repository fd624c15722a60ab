"""Whole configurations: their results, and their errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.nn import Identity

from taskfold import FTN, LoRA
from taskfold.backbones import LoadedBackbone
from taskfold.config import ConfigError
from taskfold.config.compare import load_compare
from taskfold.config.run import Config, load_config
from taskfold.data.sources import Folder

GENERAL = """
backbone: {model: net.py:build, weights: net.safetensors}
method: {name: ftn, rank: 8, norm: false}
train: {epochs: 10, precision: no, optimizers: {factors: {lr: 5e-3, optimizer: sgd}}}
image_size: 64
output: runs/mine
"""
TASKS = """
tasks:
  - {name: flowers, source: {kind: folder, root: data},
     method: {rank: 20}, train: {epochs: 5, optimizers: {factors: {lr: 1e-3}}}}
  - {name: digits, source: {kind: packaged, name: digits}, method: lora, preprocessing: {size: 32}}
"""


def read(folder: Path, text: str) -> Config:
    (folder / "c.yaml").write_text(text)
    return load_config(folder / "c.yaml")


def problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        read(folder, text)
    return str(error.value)


def test_what_a_task_says_goes_over_what_holds_for_all(tmp_path: Path) -> None:
    flowers, digits = read(tmp_path, GENERAL + TASKS).tasks
    assert flowers.method == FTN(rank=20, norm=False)
    assert digits.method == LoRA()  # another method's settings do not reach it
    assert (flowers.train.epochs, digits.train.epochs) == (5, 10)
    factors = flowers.train.optimizers["factors"]
    assert (factors.lr, factors.optimizer) == (1e-3, "sgd")
    assert flowers.train.precision == "no"
    assert (flowers.preprocessing.size, digits.preprocessing.size) == (64, 32)


def test_the_backbones_preprocessing_is_kept_where_nothing_else_is_said(tmp_path: Path) -> None:
    flowers, _ = read(tmp_path, GENERAL + TASKS).tasks
    backbone = LoadedBackbone(
        Identity(), preprocessing={"input_size": (3, 160, 160), "mean": (0.5, 0.5, 0.5), "std": (0.1, 0.1, 0.1)}
    )
    found = flowers.preprocess(backbone)
    assert (found.size, found.mean, found.std) == (64, (0.5, 0.5, 0.5), (0.1, 0.1, 0.1))


@pytest.mark.parametrize("below", ["", "/mine"])
def test_the_output_is_a_folder(below: str, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    text = GENERAL.replace("runs/mine", f"runs{below}") + TASKS
    found = f"c.yaml: output: must be a folder, and {tmp_path / 'runs'} is a file; choose another"
    assert problems(tmp_path, text).endswith(found)
    (tmp_path / "runs").unlink()
    (tmp_path / "runs").mkdir()
    assert read(tmp_path, text).output == tmp_path / f"runs{below}"


def test_relative_paths_count_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.yaml").write_text(GENERAL + TASKS)
    monkeypatch.chdir(tmp_path)
    config = load_config("sub/c.yaml")
    source = config.tasks[0].source
    assert isinstance(source, Folder)
    assert source.root == Path("sub/data")
    assert config.backbone.weights == Path("sub/net.safetensors")
    assert config.task_file(config.tasks[0]) == Path("sub/runs/mine/tasks/flowers.safetensors")


def test_a_backbone_may_be_just_its_name(tmp_path: Path) -> None:
    config = read(tmp_path, "backbone: timm:resnet18\noutput: o" + TASKS)
    assert config.backbone.model == "timm:resnet18"
    assert config.tasks[0].method == FTN(rank=20)


def test_a_folder_of_hugging_face_counts_from_the_file_and_a_name_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    task = "{name: %s, source: {kind: huggingface, dataset: %s}}"
    config = read(tmp_path, f"backbone: b\noutput: o\ntasks: [{task % ('a', 'mine')}, {task % ('b', 'cifar10')}]")
    assert [task.source.dataset for task in config.tasks] == [str(tmp_path / "mine"), "cifar10"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("backbone: {modell: x}", "backbone.modell: key is not known; did you mean model?"),
        ("backbone: {modell: x}", "backbone.model: is missing"),
        ("corupt: skip", "corupt: key is not known; did you mean corrupt?"),
        ("corrupt: maybe", "corrupt: must be 'error', 'skip' or 'trust', found 'maybe'"),
        ("image_size: -3", "image_size: must be > 0, found -3"),
        ("image_size: 3\npreprocessing: {size: 4}", "image_size: is the same as preprocessing.size"),
        ("output: 3", "output: must be a path, found 3"),
        ("method: fnt", "method.name: method 'fnt' is not known; did you mean ftn?"),
        ("method: {name: ftn, rank: abc}", "method.rank: must be a whole number or a mapping or 'auto', found 'abc'"),
        ("method: 5", "method: must be a method's name"),
        ("train: {wormup: 1}", "train.wormup: key is not known; did you mean warmup?"),
        ("train: {epochs: 0}", "train.epochs: must be ≥ 1, found 0"),
        (
            "train: {optimizers: {factors: {lr: 1, optimizer: adamm}}}",
            "train.optimizers.factors.optimizer: must be 'adam', 'adamw', 'sgd' or 'adafactor'",
        ),
        ("train: {optimizers: {mask: {rate: 1}}}", "train.optimizers.mask.rate: key is not known"),
        ("train: {phases: [{group: [mask]}]}", "train.phases[0].group: key is not known; did you mean groups?"),
        ("train: {phases: [{epochs: 0}]}", "train.phases[0]: epochs=0 must be ≥ 1"),
        (
            "train: {phases: [{turns: [{own: true}]}]}",
            "train.phases[0].turns[0].own: key is not known (known: groups, own_loss)",
        ),
        ("train: [1]", "train: must be a mapping, found [1]"),
        ("preprocessing: {resize: crop}", "preprocessing.resize: must be 'squash' or"),
        ("path: x", "path: key is not known"),
    ],
)
def test_a_general_problem_is_said_once_where_it_stands(tmp_path: Path, document: str, message: str) -> None:
    plain = {"backbone": "backbone: b", "output": "output: o"}
    whole = "\n".join([document, *(line for key, line in plain.items() if key not in document)])
    found = problems(tmp_path, whole + TASKS.replace("method: {rank: 20}, ", "").replace("method: lora, ", ""))
    assert found.count(message) == 1
    assert str(tmp_path / "c.yaml") in found
    assert "tasks[" not in found


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("name: a/b, source: {kind: packaged, name: mnist}", "tasks[0].name: task name 'a/b' is not allowed"),
        ("source: {kind: packaged, name: mnist}", "tasks[0].name: is missing"),
        ("name: a", "tasks[0].source: is missing"),
        ("name: a, source: {root: x}", "tasks[0].source: kind is missing"),
        ("name: a, source: {kind: foldr}", "tasks[0].source: kind 'foldr' is not known; did you mean folder?"),
        ("name: a, source: {kind: folder, roott: x}", "tasks[0].source.roott: key is not known; did you mean root?"),
        ("name: a, source: {kind: folder}", "tasks[0].source.root: is missing"),
        ("name: a, source: {kind: packaged, name: mnits}", "tasks[0].source.name: must be 'mnist'"),
        ("name: a, source: {kind: packaged, name: mnist}, method: {rnk: 3}", "tasks[0].method.rnk: key is not known"),
        (
            "name: a, source: {kind: packaged, name: mnist}, train: {optimizers: {head: {lr: -1}}}",
            "tasks[0].train.optimizers.head.lr: must be > 0",
        ),
        ("name: a, source: {kind: packaged, name: mnist}, preprocessing: {sze: 3}", "tasks[0].preprocessing.sze: key"),
    ],
)
def test_a_tasks_problem_is_said_with_its_place(tmp_path: Path, task: str, message: str) -> None:
    assert message in problems(tmp_path, f"backbone: b\noutput: o\ntasks: [{{{task}}}]")


def test_everything_is_said_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "backbone: b\ncorrupt: x\nmethod: {name: ftn, rank: x}\ntasks: [{name: a}, {name: A, train: {epochs: x}}]",
    )
    for place in ("output", "corrupt", "method.rank", "tasks[0].source", "tasks[1].train.epochs", "tasks[1].name"):
        assert f"\n  {place}: " in found


SAME = [
    ("a", "a", "has this name already"),
    ("a", "A", "is named 'a'"),
    ("caf\u00e9", "cafe\u0301", "is named 'caf\u00e9'"),
    ("STRASSE", "straße", "is named 'STRASSE'"),
]


@pytest.mark.parametrize(("first", "second", "message"), SAME)
def test_two_tasks_of_one_name_are_refused(tmp_path: Path, first: str, second: str, message: str) -> None:
    task = "{name: %s, source: {kind: packaged, name: mnist}}"
    text = f"backbone: b\noutput: o\ntasks: [{task % first}, {task % second}]"
    assert f"tasks[1].name: tasks[0] {message}" in problems(tmp_path, text)


@pytest.mark.parametrize("text", ["", "- 1", "3"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert "must be a mapping with backbone, tasks and output" in problems(tmp_path, text)


def test_no_tasks_are_refused(tmp_path: Path) -> None:
    assert "tasks: must have at least 1 item" in problems(tmp_path, "backbone: b\noutput: o\ntasks: []")


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "c.yaml")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no configuration file"):
        load_config(tmp_path / "c.yaml")


def test_methods_are_compared_by_one_score(tmp_path: Path) -> None:
    both = (
        "{name: a, source: {kind: csv, file: a.csv}}, {name: b, source: {kind: csv, file: a.csv}, problem: regression}"
    )
    tasks = f"tasks: [{both}]"
    path = tmp_path / "config.yaml"
    path.write_text(f"backbone: timm:resnet18\noutput: o\ncompare: {{methods: [ftn, head-only]}}\n{tasks}")
    with pytest.raises(ConfigError, match=r"train\.select_by: methods are compared by one score for all tasks"):
        load_compare(path)
    path.write_text(f"{path.read_text()}\ntrain: {{select_by: loss}}")
    assert [task.train.select_by for task in load_compare(path).tasks] == ["loss", "loss"]
