"""The T0 held-out layout, on folders of a few lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taskfold.text import Example
from taskfold.text.t0 import HELD_OUT, SEEDS, T0Task
from taskfold.text.templates import Template

YES = Template("wet", "Is {{ it }} wet? ||| {{ answer_choices[label] }}", "yes ||| no", original_task=True)
TRUE = Template("dry", "{{ it }} is dry. ||| {{ answer_choices[1 - label] }}", "true ||| false")
ONLY_SEA = Template("sea", "{% if it == 'sea' %}Sea? ||| {{ answer_choices[0] }}{% endif %}", "a ||| b")
OTHER = Template("other", "About {{ it }} ||| {{ it }}", original_task=False)
ALL = [YES, TRUE, ONLY_SEA, OTHER]


def write(file: Path, rows: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed in SEEDS:
        rows = [{"it": f"{seed}", "label": 0}, {"it": "sea", "label": 1, "template": "wet"}]
        write(tmp_path / "rte" / "2_shot" / f"{seed}_seed.jsonl", rows)
    write(tmp_path / "rte" / "validation.jsonl", [{"it": "sea", "label": 0}, {"it": "sand", "label": 1}])
    return tmp_path


def test_every_template_in_turn_unless_a_row_names_its_own(root: Path) -> None:
    task = T0Task(root, "rte", ALL, shots=2)
    assert task.few_shot(1024) == [
        Example("Is 1024 wet?", "yes", ("yes", "no")),
        Example("1024 is dry.", "false", ("true", "false")),
        Example("Is sea wet?", "no", ("yes", "no")),
    ]
    assert task.few_shot(0, template="dry") == [Example("0 is dry.", "false", ("true", "false"))]


def test_validation_by_template(root: Path) -> None:
    task = T0Task(root, "rte", ALL, shots=2)
    assert [example.input for example in task.validation(template="wet")] == ["Is sea wet?", "Is sand wet?"]
    assert [example.input for example in task.validation(template="sea")] == ["Sea?"]
    assert len(task.validation()) == 5


def test_missing_files_are_listed_with_what_is_there(root: Path) -> None:
    (root / "rte" / "validation.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match="lacks 4 files") as caught:
        T0Task(root, "rte", ALL)
    message = str(caught.value)
    assert all(f"{Path('32_shot', f'{seed}_seed.jsonl')}" in message for seed in SEEDS)
    assert "validation.jsonl" in message
    assert message.endswith("few-shot folders there: 2_shot")


def test_published_shots() -> None:
    assert {name: known.shots for name, known in HELD_OUT.items() if known.shots != 32} == {
        "winogrande": 50,
        "h-swag": 20,
        "storycloze": 70,
    }
    assert len(HELD_OUT) == 11


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda root: T0Task(root, "rte", [OTHER], shots=2), "asks what 'rte' is for, found none"),
        (lambda root: T0Task(root, "mine", ALL), "shots must be given for 'mine'; known by name: rte, cb"),
        (lambda root: T0Task(root, "rte", ALL, 2).few_shot(7), "seed must be one of 0, 1024, 42, found 7"),
        (lambda root: T0Task(root, "rte", ALL, 2).few_shot(0, template="x"), "no template is called 'x'.*'wet', 'dry'"),
        (lambda root: T0Task(root, "rte", [TRUE], 2).few_shot(0), "line 2: no template is called 'wet'.*'dry'"),
        (lambda root: T0Task(root, "rte", [Template("t", "{{ no }} ||| x")], 2).validation(), "line 1: template 't'"),
    ],
)
def test_what_cannot_be_used_is_named(root: Path, act, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        act(root)


def test_a_file_of_another_size_or_none_of_the_rows(root: Path) -> None:
    write(root / "rte" / "2_shot" / "0_seed.jsonl", [{"it": "a", "label": 0}] * 3)
    with pytest.raises(ValueError, match="must hold 2 rows, as its folder says, found 3"):
        T0Task(root, "rte", ALL, shots=2).few_shot(0)
    with pytest.raises(ValueError, match="'sea' fits none of 2 rows"):
        T0Task(root, "rte", ALL, shots=2).few_shot(42, template="sea")
