"""Lemmatisation data: what a split by lemma promises, and what a wrong answer must be."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

dictionaries = pytest.importorskip("simplemma.strategies.dictionaries.dictionary_factory")

from taskfold_demos import lemmas  # noqa: E402
from taskfold_demos.lemmas import LemmaTask, Pair, distractors, learn_rules, lemma_task  # noqa: E402

GOLDEN_TEST = (("jarumnya", "jarum"), ("kemundurannya", "mundur"), ("peluncuran", "luncur"))
GOLDEN_TRAIN = (("asasinya", "asasi"), ("semewah", "mewah"), ("seniornya", "senior"))
PAIRS = [("singing", "sing"), ("a", "b"), ("a", "a"), ("aa", "a"), ("ab", "abc"), ("ñandúes", "ñandú"), ("ge", "e")]


@cache
def task(language: str = "ms", train: int = 200, seed: int = 0, max_bytes: int = 24) -> LemmaTask:
    return lemma_task(language, train=train, val=60, test=80, seed=seed, max_bytes=max_bytes)


def of(pairs: tuple[Pair, ...]) -> set[str]:
    return {lemma for _, lemma in pairs}


def test_no_lemma_is_trained_on_and_tested_with_any_seed_size_or_language() -> None:
    tasks = [task(language, train, seed) for language in ("ms", "id") for train, seed in ((32, 0), (200, 1), (400, 2))]
    train, val, test = (set().union(*(of(getattr(one, part)) for one in tasks)) for part in ("train", "val", "test"))
    assert not train & val
    assert not train & test
    assert not val & test


def test_the_split_is_the_same_everywhere() -> None:
    assert task("id").test[:3] == GOLDEN_TEST
    assert task("id").train[:3] == GOLDEN_TRAIN


def test_the_seed_draws_the_training_pairs_and_nothing_else() -> None:
    one, other = task(seed=0), task(seed=1)
    assert (one.val, one.test, one.rules) == (other.val, other.test, other.rules)
    assert len(set(one.train) & set(other.train)) < len(one.train) / 2


def test_a_smaller_draw_begins_a_larger_one_and_asks_the_same_questions() -> None:
    small, large = task(train=32), task(train=128)
    assert small.train == large.train[:32]
    assert (small.val, small.test, small.rules) == (large.val, large.test, large.rules)


@pytest.mark.parametrize(("language", "max_bytes"), [("ms", 24), ("id", 7), ("hi", 30)])
def test_pairs_are_the_dictionarys_and_clean(language: str, max_bytes: int) -> None:
    found = task(language, max_bytes=max_bytes)
    dictionary = dictionaries.DefaultDictionaryFactory().get_dictionary(language)
    for part, size in ((found.train, 200), (found.val, 60), (found.test, 80)):
        assert len(set(part)) == len(part) == size
        assert max(Counter(lemma for _, lemma in part).values()) <= 2
        assert sum(form == lemma for form, lemma in part) <= size / 5
        for form, lemma in part:
            assert dictionary[form] == lemma
            assert max(len(form.encode()), len(lemma.encode())) <= max_bytes


JUNK = ["two words", "uit_oefenen", "x2", "well-worn", "fárˈret", "štetno".replace("š", "ш"), "NATO", "cafe\u0301"]


@pytest.mark.parametrize("junk", JUNK)
def test_junk_is_left_out(junk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    good = {f"{word}s": word for word in ("cat", "dog", "émue", "ſol", "ærø", "naïf")}
    dictionary = good | {junk: "cat", f"{junk}s": junk, "Cats": "cat", "rome": "Rome", "": "dog", "a" * 25: "dog"}
    monkeypatch.setattr(lemmas, "_dictionary", lambda language: dictionary)
    drawn: set[Pair] = set()
    for part in ("train", "val", "test"):
        for size in range(1, 12):
            try:
                found = lemma_task("en", **{"train": 0, "val": 0, "test": 0, "max_forms": 9, part: size})
            except ValueError:
                break
            drawn |= set(getattr(found, part))
    assert drawn == set(good.items())


@pytest.mark.parametrize("count", [1, 3, 6])
@pytest.mark.parametrize("rules", [{}, learn_rules(PAIRS)])
@pytest.mark.parametrize("pair", PAIRS)
def test_wrong_answers_are_wrong_distinct_and_enough(pair: Pair, rules: dict[lemmas.Rule, int], count: int) -> None:
    found = distractors(pair, rules, count)
    assert len({*found, pair[1]}) == count + 1
    assert all(found)
    assert found == distractors(pair, rules, count)
    assert pair[0] in (found[0], pair[1])  # not lemmatising at all is always an answer


def test_the_shortest_answer_is_no_good_guess() -> None:
    shortest = [min((lemma, *task().distractors((form, lemma))), key=len) == lemma for form, lemma in task().test]
    assert sum(shortest) < 0.5 * len(shortest)


def test_what_training_pairs_are_asked_stems_from_training_pairs_alone() -> None:
    blind = replace(task(), rules={})
    assert all(blind.distractors(pair) == task().distractors(pair) for pair in task().train)
    assert any(blind.distractors(pair) != task().distractors(pair) for pair in task().test)


def test_examples_are_marked_and_hide_the_answer_among_the_choices() -> None:
    for (form, lemma), example in zip(task().test, task().examples("test"), strict=True):
        assert (example.input, example.target) == (f">{form}", lemma)
        assert set(example.choices) == {lemma, *task().distractors((form, lemma))}
    places = Counter(example.answer for example in task().examples("train"))
    assert all(30 <= places[place] <= 70 for place in range(4))  # 200 of them
    assert {example.choices for example in task().examples("val", choices=0)} == {()}
    with pytest.raises(ValueError, match="part must be one of test, val, train; found 'dev'"):
        task().examples("dev")  # type: ignore[arg-type]


def test_rules_turn_their_forms_into_their_lemmas() -> None:
    for form, lemma in (*task("id").train, *PAIRS):
        [(before, after, prefix, suffix)] = learn_rules([(form, lemma)])
        assert form.startswith(before) and form.endswith(after)
        assert prefix + form[len(before) : len(form) - len(after)] + suffix == lemma


def test_the_languages_are_there_and_disjoint() -> None:
    groups = (lemmas.BACKBONE, lemmas.TRAINING, lemmas.HELD_OUT)
    every = [language for group in groups for language in group]
    assert len(set(every)) == len(every)
    assert set(every) <= dictionaries.SUPPORTED_LANGUAGES
    assert len(lemmas.TRAINING) == 30
    assert len(lemmas.HELD_OUT) >= 6


@pytest.mark.parametrize(
    ("language", "options", "message"),
    [
        ("xx", {}, "language must be one of .*; found 'xx'"),
        ("ms", {"train": 100_000}, r"train must be at most \d+, .*found 100000: ask for fewer"),
        ("ms", {"test": 100_000}, r"test must be at most \d+"),
        ("ms", {"val": -1}, "val must be at least 0, found -1"),
        ("ms", {"max_bytes": 0}, "max_bytes must be at least 1, found 0"),
        ("ms", {"max_forms": 0}, "max_forms must be at least 1, found 0"),
    ],
)
def test_what_cannot_be_drawn_is_said(language: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lemma_task(language, **{"train": 8, "val": 4, "test": 4, **options})


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, dictionaries.__name__, None)
    with pytest.raises(ImportError, match=r"simplemma==2\.0\.0"):
        lemma_task("ms", train=1, val=1, test=1)
