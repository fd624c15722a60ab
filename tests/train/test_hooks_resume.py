"""Killed in a penalty's training, before, within and after a pass of selection, and between phases: the same bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .killed import CASES
from .processes import run_module
from .test_resume import lines, timeless

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("killed")
    run_module("tests.train.killed", made)
    return made


@pytest.mark.parametrize("case", CASES)
def test_killed_in_the_middle_it_ends_with_the_same_bytes(case: str, folder: Path) -> None:
    whole, killed = folder / f"{case}-whole", folder / f"{case}-killed"
    assert (killed / "a.safetensors").read_bytes() == (whole / "a.safetensors").read_bytes()
    assert [timeless(line) for line in lines(killed)] == [timeless(line) for line in lines(whole)]


def test_a_pass_of_selection_begins_again_if_it_was_killed_and_is_not_repeated_once_it_is_done(folder: Path) -> None:
    calls = [(folder / f"prepare-{how}.calls").read_text().splitlines() for how in ("whole", "killed")]
    assert calls == [["a"], ["a", "a", "a"]]  # killed twice within the two passes of 30 samples each
    events = [line["event"] for line in lines(folder / "prepare-killed")]
    assert events.count("prepare") == 1
    assert events[0] == "prepare"


def test_every_hook_has_left_its_mark_in_the_log(folder: Path) -> None:
    penalties = [line["penalty"]["a"] for line in lines(folder / "penalty-killed") if line["event"] == "step"]
    assert len(penalties) == 20
    assert all(penalty > 0 for penalty in penalties)
    rising = [line["penalty"]["a"] for line in lines(folder / "multiplier-killed") if line["event"] == "step"]
    assert rising[0] == 0 < rising[1] < rising[2]  # the multiplier rises from 0 while all switches are on
    passes = [line["pass"] for line in lines(folder / "phases-killed") if line["event"] == "step"]
    assert passes == ["factors"] * 4 + ["head"] * 8 + ["all"] * 8
