"""Text tasks in a configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from taskfold.text import Example, rank_classify
from taskfold.text.configured import TextData, TextSettings, parse_text_source
from taskfold.text.t0 import SEEDS

from .networks import EXAMPLES, KINDS, collator, model

WORDS = [f"word{n}" for n in range(40)]


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(seed: int = 0, **settings: Any) -> TextData:
    return parse_text_source(settings).load("x", seed)


def inputs(part: Any) -> set[str]:
    return {example.input for example in part}


class TestExamples:
    def test_one_file_is_split_by_seed_and_equal_inputs_stay_together(self, tmp_path: Path) -> None:
        rows = [{"input": word, "target": f"{word}{n}"} for word in WORDS for n in range(2)]
        file = table(tmp_path / "a.jsonl", rows)
        first, again, other = (load(seed, kind="examples", file=file) for seed in (0, 0, 1))
        parts = [inputs(part) for part in (first.train, first.val, first.test)]
        assert [len(part) for part in parts] == [29, 3, 8]  # a fifth, then a tenth of what is left
        assert set.union(*parts) == set(WORDS)
        assert (again.train, again.val, again.test) == (first.train, first.val, first.test)
        assert inputs(other.test) != inputs(first.test)
        assert len(first.notes) == 2

    def test_files_for_parts_stay_as_they_are(self, tmp_path: Path) -> None:
        rows = [{"text": word, "label": "ab"[n % 2]} for n, word in enumerate(WORDS)]
        train, test = table(tmp_path / "a.jsonl", rows[:30]), table(tmp_path / "b.jsonl", rows[30:])
        found = load(kind="examples", train=train, test=test)
        assert [example.input for example in found.test] == WORDS[30:]
        assert inputs(found.train) | inputs(found.val) == set(WORDS[:30])
        assert (found.choices, found.metrics) == (("a", "b"), ("exact-match", "rank"))

    def test_inputs_in_two_files_are_said(self, tmp_path: Path) -> None:
        rows = [{"input": word, "target": "x"} for word in WORDS]
        train, test = table(tmp_path / "a.jsonl", rows), table(tmp_path / "b.jsonl", rows[:4])
        _, note, *_ = load(kind="examples", train=train, val=train, test=test).notes
        said = "what is measured there was learnt here: take them out of one"
        assert note == f"4 inputs are in train and in test: 'word0', 'word1', 'word2', …; {said}"

    def test_files_with_other_labels_are_refused(self, tmp_path: Path) -> None:
        train = table(tmp_path / "a.jsonl", [{"text": word, "label": "ab"[n % 2]} for n, word in enumerate(WORDS)])
        test = table(tmp_path / "b.jsonl", [{"text": "x", "label": "c"}, {"text": "y", "label": "a"}])
        with pytest.raises(ValueError, match=r"the files have different labels \(train: a, b; test: a, c\)"):
            load(kind="examples", train=train, test=test)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({}, "file or train is missing"),
            ({"file": "a", "val": "b"}, "file is split into parts, and val is a part"),
            ({"file": "a", "val_fraction": 0}, "greater than 0"),
        ],
    )
    def test_layouts_that_do_not_exist(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            parse_text_source({"kind": "examples", **settings})


def test_topics_are_chosen_among_and_not_written(tmp_path: Path) -> None:
    for label in ("news", "sport"):
        for n, word in enumerate(WORDS[:20]):
            (tmp_path / label).mkdir(exist_ok=True)
            (tmp_path / label / f"{n}.txt").write_text(f"{label} {word}")
    found = load(kind="topics", texts=tmp_path, prompt="{text}? ")
    assert (found.choices, found.metrics, found.open) == (("news", "sport"), ("rank",), False)
    assert [len(part) for part in (found.train, found.val, found.test)] == [28, 4, 8]
    assert all(example.input.removesuffix("? ").startswith(example.target) for example in found.test)


def test_t0_validates_on_what_the_other_seeds_have(tmp_path: Path) -> None:
    for seed in SEEDS:
        rows = [{"it": "sea", "label": 1}, {"it": str(seed), "label": 0}]
        table(tmp_path / "rte" / "2_shot" / f"{seed}_seed.jsonl", rows)
    table(tmp_path / "rte" / "validation.jsonl", [{"it": "sand", "label": 1}])
    (tmp_path / "templates.yaml").write_text(TEMPLATES)
    settings = {"kind": "t0", "root": tmp_path, "name": "rte", "templates": tmp_path / "templates.yaml", "shots": 2}
    found = parse_text_source({**settings, "seed": 1024}).load("x")
    assert inputs(found.train) == {"Is sea wet?", "Is 1024 wet?"}
    assert inputs(found.val) == {"Is 0 wet?", "Is 42 wet?"}
    assert found.test == [Example("Is sand wet?", "no", ("yes", "no"))]


TEMPLATES = """
dataset: rte
templates:
  a: !Template
    answer_choices: yes ||| no
    id: a
    jinja: 'Is {{ it }} wet? ||| {{ answer_choices[label] }}'
    metadata: !TemplateMetadata {choices_in_prompt: false, languages: [en], metrics: [Accuracy], original_task: true}
    name: wet
    reference: ''
"""


@pytest.mark.parametrize("kind", KINDS)
def test_validation_counts_what_ranking_and_greedy_decoding_would(kind: str) -> None:
    net, settings = model(kind), TextSettings()
    ranked = [example for example in EXAMPLES if example.choices]
    batch = collator(kind, with_choices=True)(ranked)
    found = settings.measure()(net, batch, ["a"] * len(ranked))
    expected = rank_classify(net, "a", ranked, collator(kind), batch_size=2)
    assert found["accuracy"].tolist() == [
        float(guess == example.answer) for guess, example in zip(expected.predictions, ranked, strict=True)
    ]
    assert found["loss"].tolist() == settings.objective()(net, batch, ["a"] * len(ranked)).tolist()


def test_settings_reach_what_they_are_for() -> None:
    settings = TextSettings.model_validate({"max_input": 9, "cut": "start", "losses": {"mc": 0, "ul": 0}})
    made = settings.collator(collator("encoder-decoder").tokenizer, causal=False, choices=settings.choosing)
    assert (made.max_input, made.cut, made.with_choices) == (9, "start", False)
    assert (settings.objective().lm, settings.objective().mc, settings.objective().ul) == (1, 0, 0)
