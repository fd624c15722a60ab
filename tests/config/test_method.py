"""Flat settings against the fields of methods."""

from __future__ import annotations

import pytest

from taskfold import FTN
from taskfold.config import ConfigError, build_method
from taskfold.methods import names


@pytest.mark.parametrize("name", names())
def test_every_method_can_be_named(name: str) -> None:
    assert build_method(name, {}).name == name


def test_values_arrive_as_the_method_wants_them() -> None:
    made = build_method("ftn", {"rank": {"layer4.*": 8}, "alpha": 3, "targets": ["*", "!stem"]})
    assert made == FTN(rank={"layer4.*": 8}, alpha=3.0, targets=("*", "!stem"))
    for budget in (20_000, 0.05):  # numbers, or a share
        assert build_method("ftn", {"rank": "auto", "budget": budget}) == FTN(rank="auto", budget=budget)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": "abc"}, "rank: must be a whole number or a mapping or 'auto', found 'abc'"),
        ({"rank": True}, "rank: must be a whole number"),
        ({"rank": {"a": "x"}}, r"rank.a: must be a whole number, found 'x'"),
        ({"rank": 0}, "rank must be .* found 0"),
        ({"norm": "yes"}, "norm: must be true or false, found 'yes'"),
        ({"init": "ones"}, "init: must be 'zero', 'xavier' or 'normal', found 'ones'"),
        ({"targets": 5}, "targets: must be text or a list, found 5"),
        ({"rnk": 3}, "^--set rnk: key is not known; did you mean rank"),
        ({"sharing": "all"}, "sharing='all' is not known"),
    ],
)
def test_a_value_that_cannot_be_is_said(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_method("ftn", settings)


@pytest.mark.parametrize("statistics", ["backbone", "adapted", "own"])
@pytest.mark.parametrize(
    "name", ["ftn", "ftn-qv", "lora", "tlora", "poly", "adapter", "piggyback", "head-norm", "fine-tuning"]
)
def test_statistics_have_the_same_words_everywhere(name: str, statistics: str) -> None:
    assert build_method(name, {"statistics": statistics}).as_json()["settings"]["statistics"] == statistics
    with pytest.raises(ConfigError, match=r"statistics: must be 'backbone', 'adapted'.* 'own'.* found 'batch'"):
        build_method(name, {"statistics": "batch"})


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        build_method("lora", {"rank": 1.5, "nrom": True})
    assert len(str(error.value).splitlines()) == 2


def test_an_unknown_method_is_said() -> None:
    with pytest.raises(ConfigError, match="method 'fnt' is not known; did you mean ftn"):
        build_method("fnt", {})
