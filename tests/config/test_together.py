"""Configurations of a joint training: the result of `together`, and its errors."""

from __future__ import annotations

from pathlib import Path

import pytest

import taskfold as tfold
from taskfold.config import ConfigError
from taskfold.config._together import shares
from taskfold.config.run import Config, load_config
from taskfold.methods import Method
from taskfold.train import JointSettings

TASK = "{name: %s, source: {kind: examples, file: %s.csv}}"
TASKS = f"tasks: [{TASK % ('dutch', 'nl')}, {TASK % ('german', 'de')}]"
IMAGES = "tasks: [{name: digits, source: {kind: packaged, name: digits}}]"


def read(folder: Path, text: str) -> Config:
    (folder / "c.yaml").write_text(f"backbone: b\noutput: o\n{text}")
    return load_config(folder / "c.yaml")


def problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        read(folder, text)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("together: false", None),
        ("together: true", JointSettings()),
        ("together: true\ntrain: {epochs: 3}", JointSettings(epochs=3)),
        ("together: {epochs: 4}\ntrain: {epochs: 3, seed: 5}", JointSettings(epochs=4, seed=5)),
        (
            "together: {sampling: temperature, temperature: 2, cap: 50, task_weights: {dutch: 2}}",
            JointSettings(sampling="temperature", temperature=2, cap=50, task_weights={"dutch": 2}),
        ),
        (
            "together: {optimizers: {routing: {lr: 0.2}}}\ntrain: {optimizers: {routing: {lr: 1, optimizer: sgd}}}",
            JointSettings.model_validate({"optimizers": {"routing": {"lr": 0.2, "optimizer": "sgd"}}}),
        ),
    ],
)
def test_together_goes_over_what_holds_for_all(tmp_path: Path, text: str, expected: JointSettings | None) -> None:
    said = read(tmp_path, f"{text}\n{TASKS}").together
    assert (said and said.training) == expected


def test_groups_are_auto_or_said(tmp_path: Path) -> None:
    auto = read(tmp_path, f"together: {{groups: auto, affinity: {{groups: 2, by: cosine}}}}\n{TASKS}").together
    assert auto and (auto.groups, auto.affinity.groups, auto.affinity.by) == ("auto", 2, "cosine")
    said = read(tmp_path, f"together: {{groups: [[dutch], [german]]}}\n{TASKS}").together
    assert said and said.groups == (("dutch",), ("german",))


def test_texts_are_read_as_is_said_for_all_and_for_one(tmp_path: Path) -> None:
    text = "text: {max_input: 30, losses: {mc: 0, ul: 0}}\ntasks: [%s, %s]"
    changed = "{name: german, source: {kind: examples, file: de.csv}, text: {losses: {ul: 2}, num_beams: 3}}"
    dutch, german = (task.text for task in read(tmp_path, text % (TASK % ("dutch", "nl"), changed)).tasks)
    assert (dutch.max_input, german.max_input, dutch.num_beams, german.num_beams) == (30, 30, 1, 3)
    assert [losses.model_dump() for losses in (dutch.losses, german.losses)] == [
        {"lm": 1.0, "mc": 0.0, "ul": 0.0},
        {"lm": 1.0, "mc": 0.0, "ul": 2.0},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"method: poly\n{TASKS}",
            "together: is missing: method 'poly' shares an inventory between tasks (tasks[0], t",
        ),
        (f"method: poly\ntogether: false\n{TASKS}", "together: is missing: method 'poly' shares"),
        (f"method: {{name: ftn, sharing: shared}}\n{TASKS}", "or choose sharing: private"),
        (f"together: 3\n{TASKS}", "together: must be a mapping, found 3"),
        (f"together: {{epoch: 3}}\n{TASKS}", "together.epoch: key is not known; did you mean epochs?"),
        (f"together: {{task_weights: {{duch: 3}}}}\n{TASKS}", "task_weights.duch: task is not known; did you mean dut"),
        (f"together: {{temperature: 2}}\n{TASKS}", "does not fit sampling='proportional'"),
        (f"together: true\ntrain: {{epochs: 0}}\n{TASKS}", "train.epochs: must be ≥ 1, found 0"),
        (f"together: {{groups: [[dutch], [duch]]}}\n{TASKS}", "together.groups[1]: 'duch': task is not known; did you"),
        (f"together: {{groups: [[dutch], [duch]]}}\n{TASKS}", "together.groups: must name every task, german is in no"),
        (f"together: {{groups: [[dutch, german], [dutch], []]}}\n{TASKS}", "groups[1]: 'dutch' is in two places"),
        (f"together: {{groups: [[dutch, german], []]}}\n{TASKS}", "together.groups[1]: is empty; leave it out"),
        (f"together: {{groups: some}}\n{TASKS}", "together.groups: must be 'auto'"),
        (f"together: {{affinity: {{steps: 20}}}}\n{TASKS}", "is measured for groups='auto', found groups=None"),
        (f"together: {{groups: auto, affinity: {{steps: 3}}}}\n{TASKS}", "make 0 measurements"),
        (f"image_size: 8\n{TASKS}", "image_size: is for tasks of images, and these have texts; leave it out"),
        (f"text: {{max_input: 8}}\n{IMAGES}", "text: is for tasks of texts, and these have images; leave it out"),
        (f"text: {{max_input: 1}}\n{TASKS}", "text.max_input: must be ≥ 2, found 1"),
        (f"text: {{losses: {{lm: 0, mc: 0, ul: 0}}}}\n{TASKS}", "text.losses: lm, mc and ul are all 0"),
        (f"text: {{metrics: [bleu]}}\n{TASKS}", "text.metrics[0]: must be 'exact-match' or 'rank', found 'bleu'"),
        (f"tasks: [{TASK % ('dutch', 'nl')}, {IMAGES[8:-1]}]", "tasks[0] (dutch) has texts, tasks[1] (digits) has im"),
        ("tasks: [{name: a, source: {kind: exmples}}]", "kind 'exmples' is not known; did you mean examples?"),
        ("tasks: [{name: a, source: {kind: topics}}]", "tasks[0].source.texts: is missing"),
        ("tasks: [{name: a, source: {kind: examples}}]", "file or train is missing"),
        (
            "tasks: [{name: a, source: {kind: examples, file: a.csv, test: b.csv}}]",
            "file is split into parts, and test",
        ),
    ],
)
def test_a_problem_is_said_once_where_it_stands(tmp_path: Path, text: str, message: str) -> None:
    assert problems(tmp_path, text).count(message) == 1


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("train: {epochs: 3}", "tasks[0].train: tasks trained together have one training; say it in together"),
        ("text: {max_target: 3}", "tasks[0].text.max_target: tasks trained together are batched alike"),
    ],
)
def test_what_joint_tasks_cannot_have_of_their_own(tmp_path: Path, own: str, message: str) -> None:
    task = f"{{name: a, source: {{kind: examples, file: nl.csv}}, {own}}}"
    assert message in problems(tmp_path, f"together: true\ntasks: [{task}]")
    assert read(tmp_path, f"tasks: [{task}]").together is None  # one after another they may


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (tfold.FTN(), False),
        (tfold.LoRA(), False),
        (tfold.LoRA(sharing="shared"), True),
        (tfold.Poly(), True),
        (tfold.FTN(sharing="tensorpoly-i"), True),
        (tfold.HardSharing(), True),
        (tfold.OverParameterised(), True),
        (tfold.ExpandNet(), True),
        (tfold.RepVGG(), True),
        (tfold.FineTuning(), False),
        (tfold.HeadNorm(), False),
    ],
)
def test_who_shares(method: Method, expected: bool) -> None:
    assert shares(method) is expected
