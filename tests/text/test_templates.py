"""promptsource's YAML: rendered texts, forbidden operations, refused templates."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskfold.text import Example
from taskfold.text.templates import Template, TemplateError, templates

YAML = """
dataset: super_glue
subset: copa
templates:
  0edd8660-f299-4819-a5ac-633c11177228: !Template
    answer_choices: '{{choice1}} ||| {{choice2}}'
    id: 0edd8660-f299-4819-a5ac-633c11177228
    jinja: 'Choose.


      {{ premise }} {% if question == "cause" %} because... {% else %} so... {% endif
      %} ||| {% if label != -1 %}{{ answer_choices[label] }}{%endif%}'
    metadata: !TemplateMetadata
      choices_in_prompt: true
      metrics:
      - Accuracy
      original_task: true
    name: exercise
    reference: ''
  150789fe-e309-47a1-82c9-0a4dc2c6b12b: !Template
    answer_choices: null
    id: 150789fe-e309-47a1-82c9-0a4dc2c6b12b
    jinja: "{% if question == \\"effect\\" %}{{ premise }} What could\\
      \\ happen? ||| {{ choice1 }}{% endif %}"
    metadata: !TemplateMetadata
      choices_in_prompt: null
      metrics: null
      original_task: false
    name: "\\u2026What could happen?"
    reference: ''
"""
ROW = {"premise": "It rained.", "choice1": "sun", "choice2": "wet grass", "question": "cause", "label": 1}


@pytest.fixture
def copa(tmp_path: Path) -> Path:
    file = tmp_path / "super_glue" / "copa" / "templates.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(YAML, encoding="utf-8")
    return file


def test_a_file_and_a_folder_of_files(copa: Path) -> None:
    found = templates(copa)
    assert found == templates(copa.parents[2])
    assert [template.name for template in found] == ["exercise", "…What could happen?"]
    assert [template.original_task for template in found] == [True, False]
    assert found[0].dataset == "super_glue/copa"
    assert found[0].metrics == ("Accuracy",)


def test_a_row_in_words(copa: Path) -> None:
    first, second = templates(copa)
    assert first.example(ROW) == Example("Choose.\n\nIt rained.  because...", "wet grass", ("sun", "wet grass"), 1)
    assert first.example(ROW, choices=False) == Example("Choose.\n\nIt rained.  because...", "wet grass")
    assert second.example(ROW) is None
    assert second.example({**ROW, "question": "effect"}) == Example("It rained. What could happen?", "sun")


def test_separators_in_the_data_part_nothing() -> None:
    template = Template("t", "{{ a }} and {{ b[0] }} ||| {{ answer_choices[0] }}", "{{ c }} ||| no")
    found = template.example({"a": "x ||| y", "b": ["p|||q"], "c": "r|||s"})
    assert found == Example("x ||| y and p|||q", "r|||s", ("r|||s", "no"))


@pytest.mark.parametrize(
    ("jinja", "expected"),
    [
        ("{{ [2, 1, 2] | most_frequent | join(',') }} ||| x", "2"),
        ("{% for a, b in zip([1, 2], ['u', 'v']) %}{{ a }}{{ b }}{% endfor %} ||| x", "1u2v"),
        ("{{ row['<b>'] }} ||| x", "&"),
    ],
)
def test_what_templates_may_use(jinja: str, expected: str) -> None:
    found = Template("t", jinja).example({"row": {"<b>": "&"}})
    assert found is not None
    assert found.input == expected


def test_templates_build_lists_and_leave_the_row_as_it_was() -> None:
    row = {"a": [1], "b": {"c": []}}
    jinja = "{% set l = [] %}{{ l.append(7) or '' }}{{ a.append(2) or '' }}{{ b.c.append(3) or '' }}{{ l + a }} ||| x"
    found = Template("t", jinja).example(row)
    assert found is not None
    assert found.input == "[7, 1, 2]"
    assert row == {"a": [1], "b": {"c": []}}


def test_choice_is_by_row_and_seed() -> None:
    template = Template("t", "{{ range(1000) | choice }} ||| x")
    made = {(row, seed): template.example({"row": row}, seed=seed) for row in range(5) for seed in range(5)}
    assert all(template.example({"row": row}, seed=seed) == one for (row, seed), one in made.items())
    assert len(set(made.values())) > 20


@pytest.mark.parametrize(
    ("jinja", "choices", "row", "message"),
    [
        ("{{ missing }} ||| x", None, {"a": 1}, "template 't' of d: jinja: 'missing' is undefined; fields: a"),
        ("in ||| x", "{{ b }} ||| x", {"a": 1}, "template 't' of d: answer_choices: 'b' is undefined; fields: a"),
        ("a ||| b ||| c", None, {}, r"must render one \|\|\|, found 2"),
        ("{% if a %}in ||| {% endif %}out", None, {"a": 0}, r"must render one \|\|\|, found 0"),
        ("in ||| {% if a != -1 %}x{% endif %}", None, {"a": -1}, "target must not be empty.*the row is {'a': -1}"),
        ("in ||| z", "x ||| y", {}, "target must be one of choices"),
        ("in ||| {{ answer_choices[0] }}", "x", {"answer_choices": 1}, "field 'answer_choices'"),
        ("{{ a / 0 }} ||| x", None, {"a": 1}, "ZeroDivisionError"),
        ("{{ a.__class__.__mro__ }} ||| x", None, {"a": "s"}, "unsafe"),
        ("{{ range(99999999) | list | length }} ||| x", None, {}, "Range too big"),
    ],
)
def test_what_cannot_be_rendered_says_why(jinja: str, choices: str | None, row: dict, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        Template("t", jinja, choices, "d").example(row)


@pytest.mark.parametrize(
    ("jinja", "message"), [("no separator", r"needs \|\|\|"), ("{% if %} ||| x", "is no Jinja: line 1")]
)
def test_an_impossible_template_is_refused(jinja: str, message: str) -> None:
    with pytest.raises(TemplateError, match=f"template 't': {message}"):
        Template("t", jinja)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("templates: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("templates: {a: !Other {name: n, jinja: a}}", "could not determine a constructor for the tag '!Other'"),
        ("templates: [a", "cannot be read"),
        ("[1, 2]", "must have a mapping 'templates'"),
        ("templates: {a: !Template {name: n}}", "must have name and jinja"),
        ("templates: {a: !Template {name: n, jinja: in}}", r"template 'n': needs \|\|\|"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "templates.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(TemplateError, match=f"templates.yaml: .*{message}"):
        templates(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match=r"no templates\.yaml below"):
            templates(path)
