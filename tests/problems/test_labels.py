"""What labels make a problem, and which are refused before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from taskfold.problems import Classification, MultiLabel, Ordinal, Regression, TargetError


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1e9, 1e9 + 20, 1e9 + 40], ["label is 1000000000 to 1000000040; take a constant from all of them"]),
        ([1.0, 1 + 1e-9], ["label is 1 to 1.000000001; take a constant from all of them"]),
        ([7.0, 7.0], ["label is always 7"]),
        ([1.60e9, 1.65e9, 1.7e9], []),  # seconds of three years
        ([-1e-30, 2e-30], []),
    ],
)
def test_numbers_that_single_precision_does_not_tell_apart(values: Sequence[float], said: list[str]) -> None:
    found = Regression().check({"train": [(value,) for value in values]}, ["label"])
    assert [one.rpartition(": ")[2] for one in found] == said


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            ["1", "0", "1"],
            "tags must have names of labels, found 0 and 1; give a column for each label, or problem: class",
        ),
        (["a", "a,b", ""], "tags has 'a,b', which is one label where ';' stands between labels; say separator: ','"),
        (["a", "a | b", ""], "tags has 'a | b', which is one label .* say separator: '|'"),
    ],
)
def test_labels_of_one_column_are_names_that_are_parted(cells: list[str], message: str) -> None:
    problem = MultiLabel(columns=("tags",))
    with pytest.raises(TargetError, match=message.replace("|'", r"\|'")):
        problem.fitted([problem.read((cell,)) for cell in cells])
    assert problem.fitted([problem.read((cell,)) for cell in ("a, b; c", "a", "c")])[1] == ("a", "a, b", "c")


def test_levels_are_whole_numbers_each_written_in_one_way() -> None:
    assert Ordinal().fitted(["10", "-1", "0"])[1] == ("-1", "0", "10")
    with pytest.raises(TargetError, match="levels must be different numbers, found 01, 1, 2"):
        Ordinal().fitted(["1", "01", "2"])
    assert Ordinal(order=("1", "01")).fitted(["01", "1"])[1] == ("1", "01")


def test_classes_that_look_the_same_are_refused() -> None:
    with pytest.raises(TargetError, match=r"'cafe\u0301'|'caf\u00e9' is composed of other characters"):
        Classification().fitted(["caf\u00e9", "cafe\u0301", "tea"])


def test_a_class_without_a_training_sample_is_named() -> None:
    said = Classification().check({"train": [0, 0], "val": [0], "test": [1, 0]}, ["cat", "dog"])
    assert said == ["classes in val or test without a training sample: dog: add samples, or take these classes out"]
