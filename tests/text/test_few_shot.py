"""Examples, and few-shot subsets by seed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from taskfold.text import Example, few_shot, few_shot_split

CHOICES = ("red", "green", "blue")
MANY = [Example(f"text {n}", CHOICES[n % 3], CHOICES) for n in range(90)]
UNEVEN = [Example(f"text {n}", "rare" if n < 3 else "common") for n in range(40)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("in", ""), "target must not be empty"),
        (("in", "a", ("a", "")), "choices must not be empty texts"),
        (("in", "a", ("a", "a")), "choices must be distinct"),
        (("in", "c", ("a", "b")), "target must be one of choices .*found 'c'"),
        (("in", "a", ("a", "b"), 2), "answer must be in 0 to 1, found 2"),
        (("in", "a", ("a", "b"), -1), "answer must be in 0 to 1, found -1"),
        (("in", "a", ("a", "b"), 1), r"target must be choices\[1\], which is 'b', found 'a'"),
        (("in", "a", (), 0), "answer must be None without choices"),
    ],
)
def test_an_impossible_example_is_refused(fields: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Example(*fields)


def test_the_answer_is_looked_up() -> None:
    assert Example("in", "b", ("a", "b")) == Example("in", "b", ("a", "b"), 1)


@pytest.mark.parametrize("balanced", [True, False])
def test_the_same_seed_the_same_shots_in_order_and_fewer_among_more(balanced: bool) -> None:
    few, more = (few_shot(MANY, shots, 1, balanced=balanced) for shots in (8, 32))
    assert few == few_shot(MANY, 8, 1, balanced=balanced)
    assert few != few_shot(MANY, 8, 2, balanced=balanced)
    assert set(few) < set(more)
    assert len(set(more)) == 32
    assert more == sorted(more, key=MANY.index)


@pytest.mark.parametrize("shots", [1, 3, 32, 90])
def test_balanced_shots_differ_by_one_at_most(shots: int) -> None:
    counts = Counter(example.target for example in few_shot(MANY, shots, 0, balanced=True))
    assert sum(counts.values()) == shots
    assert max(counts.values()) - min(counts[choice] for choice in CHOICES) <= 1


def test_balanced_goes_by_place_where_every_example_has_choices_of_its_own() -> None:
    examples = [Example(f"{n}", f"right {n}", (f"left {n}", f"right {n}")) for n in range(5)]
    examples += [Example(f"{n}", f"left {n}", (f"left {n}", f"right {n}")) for n in range(5, 50)]
    assert Counter(example.answer for example in few_shot(examples, 8, 0, balanced=True)) == {0: 4, 1: 4}


@pytest.mark.parametrize("seed", range(5))
def test_validation_shares_no_input_with_the_shots(seed: int) -> None:
    doubled = [*MANY, *MANY]
    train, val = few_shot_split(doubled, 20, 30, seed)
    assert train == few_shot(doubled, 20, seed)
    assert len(val) == 30
    assert not {example.input for example in train} & {example.input for example in val}
    assert val != few_shot_split(doubled, 20, 30, seed + 1)[1]


@pytest.mark.parametrize(
    ("examples", "shots", "seed", "balanced", "message"),
    [
        (MANY, 91, 0, False, "shots must be 1 to the 90 examples available, found 91"),
        (MANY, 0, 0, False, "found 0"),
        (MANY, 8, -1, False, "seed must be a whole number ≥ 0, found -1"),
        (UNEVEN, 8, 0, True, "needs 4 of each .* only 3 are available of 'rare'"),
        ([*MANY[:4], *MANY[6:90:3]], 8, 0, True, "shots=8, balanced over 3 answers, needs 2 of each"),
    ],
)
def test_too_few_are_named(examples: list[Example], shots: int, seed: int, balanced: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        few_shot(examples, shots, seed, balanced=balanced)


@pytest.mark.parametrize("validation", [0, 83])
def test_too_few_to_validate_on(validation: int) -> None:
    with pytest.raises(ValueError, match=f"validation must be 1 to 82, .*found {validation}"):
        few_shot_split(MANY, 8, validation, 0)


def test_importing_the_room_imports_no_extra() -> None:
    code = "import sys, taskfold.text; print([m for m in ('transformers', 'yaml', 'jinja2') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
