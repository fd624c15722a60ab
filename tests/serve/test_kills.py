"""A few kills of the campaign."""

from __future__ import annotations

from pathlib import Path

import pytest

from .kills import kills, possible


@pytest.mark.slow
def test_the_old_state_or_the_new_one_is_there_after_a_kill(tmp_path: Path) -> None:
    counts, problems = kills(3, tmp_path)
    assert not problems
    assert sum(counts.values()) >= 3


def test_what_may_be_there() -> None:
    before = {"a": 1, "b": 2}
    assert possible(before, {"set": {"a": 3}}) == [before, {"a": 3, "b": 2}]
    assert possible(before, {"move": ["a", "c"]}) == [before, {"a": 1, "b": 2, "c": 1}, {"b": 2, "c": 1}]
    assert possible(before, {"drop": "a"}) == [before, {"b": 2}]
    assert possible(before, None) == [before]
