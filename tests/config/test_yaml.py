"""YAML as people expect it."""

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


LAUGHS = "x0: &a [l, l, l, l, l, l, l, l, l]\n" + "".join(
    f"x{n}: &{chr(97 + n)} [{', '.join([f'*{chr(96 + n)}'] * 9)}]\n" for n in range(1, 10)
)
MERGED = "x0: &a {l: 1}\n" + "".join(
    f"x{n}: &{chr(97 + n)} {{<<: [{', '.join([f'*{chr(96 + n)}'] * 9)}]}}\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS + "backbone: *j", "with aliases that write out more than 10 times as many"),
        (MERGED + "backbone: *j", "with aliases that write out more than 10 times as many"),
        ("a: &a [*a]", "line 1, column 4: an alias stands inside of what it is an alias of"),
        ("[" * 60 + "]" * 60, "has more than 50 lists and mappings inside one another"),
        ("[" * 20_000, "has more than 50 lists and mappings inside one another"),
        ("a: " + "9" * 5000, "line 1, column 4: 9{39}… is too large a number"),
        ("a: -9300000000000000000", "is too large a number"),
        ("a: 1e999", "1e999 is too large a number"),
        ("a: \x00", "not YAML: unacceptable character"),
        ("a" * 4_000_001, "may have 4,000,000 characters, found 4,000,001"),
    ],
)
def test_what_would_never_end_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text, "x.yaml")


def test_aliases_and_merge_keys_are_fine() -> None:
    text = "a: &a {x: 1, y: .inf}\nb: {<<: *a, x: 2}\nc: *a\nd: 9223372036854775807"
    assert parse(text, "x") == {
        "a": {"x": 1, "y": float("inf")},
        "b": {"x": 2, "y": float("inf")},
        "c": {"x": 1, "y": float("inf")},
        "d": 2**63 - 1,
    }
