"""YAML as people mean it."""

from __future__ import annotations

from typing import Any

import pytest

from taskfold.config import ConfigError, parse, parse_settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("false", False),
        ("1e-3", 0.001),
        ("-2.5", -2.5),
        ("5E3", 5000.0),
        (".inf", float("inf")),
        ("007", "007"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("0", 0),
        ("-12", -12),
        ("~", None),
        ("", None),
        ("{layer4.*: 8, '*': 2}", {"layer4.*": 8, "*": 2}),
        ("{a: {<<: {b: 1}, c: 2}}", {"a": {"b": 1, "c": 2}}),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = parse(text, "here")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"here, line 3, column 1: key 'a' stands in line 1 already"),
        ("x:\n  - {a: 1, a: 1}", r"here, line 2, .*key 'a' stands in line 2"),
        ("a: [1\nb: 2", r"here, line 2"),
        ("a: !!python/object/apply:os.getcwd []", r"here, line 1, .*constructor"),
        ("? [1, 2]\n: 3", r"here, line 1, .*plain text"),
        ("a: \x07", "here: not YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text, "here")


@pytest.mark.parametrize("pair", ["rank", "=3", "ra nk=3", "rank: 3", "rank={"])
def test_settings_that_are_no_settings(pair: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        parse_settings([pair])


def test_a_setting_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="rank is given twice"):
        parse_settings(["rank=1", "rank=2"])
