"""Colours and marks by rule, for any names."""

from __future__ import annotations

import random

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from taskfold.methods import names
from taskfold.report._style import DASHES, FAMILIES, MARKERS, OTHERS, TONES, family, marks, method_of
from taskfold.report._svg import RC, to_svg

COINED = [f"{first}-{second}" for first in ("bitfit", "ssf", "mask", "prompt", "ftn", "gate") for second in "abcde"]
PAGES = {
    "the package's": names(),
    "references": list(FAMILIES),
    "coined": COINED,
    "both": names() + COINED,
    "one family": [f"ftn-{index}" for index in range(40)],
    "very many": [f"method{index}" for index in range(200)],
}
pages = pytest.mark.parametrize("methods", PAGES.values(), ids=PAGES.keys())


@pages
def test_no_two_methods_of_a_page_look_alike(methods: list[str]) -> None:
    labels = [(f"{name}, rank {rank}", name) for name in methods for rank in (1, 2)]
    found, looks = marks(labels), {}
    for label, name in labels:
        looks.setdefault(name, set()).add((found[label].tone, found[label].marker))
    assert all(len(look) == 1 for look in looks.values())
    assert len(set.union(*looks.values())) == len(methods)


@pages
def test_a_family_has_one_tone_and_tones_are_shared_only_where_they_run_out(methods: list[str]) -> None:
    found = marks([(name, name) for name in methods])
    tones: dict[str, set[str]] = {}
    for name, mark in found.items():
        tones.setdefault(family(name), set()).add(mark.tone)
    assert all(len(tone) == 1 for tone in tones.values())
    present = [name for name in tones if name in FAMILIES]
    assert all(tones[name] == {name} for name in present)
    others = [tone for name, tone in tones.items() if name not in FAMILIES]
    free = len(OTHERS) + len(FAMILIES) - len(present)
    assert len(set().union(*others)) == min(free, len(others))
    assert set().union(*tones.values()) <= set(TONES)


@pages
def test_marks_are_the_same_in_any_order(methods: list[str]) -> None:
    shuffled = random.Random(0).sample(methods, len(methods))
    first, second = (marks([(name, name) for name in order]) for order in (methods, shuffled))
    assert all((first[name].tone, first[name].marker) == (second[name].tone, second[name].marker) for name in methods)


@pytest.mark.parametrize("name", names())
def test_a_method_alone_beside_the_references_always_looks_the_same(name: str) -> None:
    alone = marks([(name, name)])[name]
    page = [*FAMILIES, name] if name not in FAMILIES else [*FAMILIES]
    beside = marks([(each, each) for each in page])[name]
    assert (alone.tone, alone.marker) == (beside.tone, beside.marker)
    assert alone.marker in {*MARKERS, *FAMILIES.values()}


def test_labels_of_a_method_look_like_the_method() -> None:
    for name in names():
        for label in (name, name.replace("-", " "), f"{name}, order 2", f"{name.upper()} R=4", f"{name}: mu"):
            assert method_of(label) == name


def test_the_longest_start_of_a_label_that_is_a_method_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(method_of.__globals__, "names", lambda: ["side", "side-by", "side-by-side-now"])
    found = {
        "Side by side now, R=4": "side-by-side-now",
        "side by side": "side-by",
        "side now": "side",
        "other one": "other",
    }
    assert {label: method_of(label) for label in found} == found


def test_known_marks_stay() -> None:
    """Written down, so that a change of the rule is seen: a checksum is the same in every process."""
    found = {name: (mark.tone, mark.marker) for name in ("ftn-qv", "poly") for mark in marks([(name, name)]).values()}
    assert found == {"ftn-qv": ("ftn", "<"), "poly": ("other-1", "<")}


def test_lines_of_one_tone_differ_in_dash() -> None:
    found = marks([(name, name) for name in (*FAMILIES, *(f"new{index}" for index in range(12)))])
    assert len({(mark.tone, mark.dash) for mark in found.values()}) == len(FAMILIES) + 12 == 5 + 3 * len(DASHES)


def test_every_marker_can_be_drawn() -> None:
    figure = Figure()
    with mpl.rc_context(RC):
        axes = figure.add_subplot()
        for mark in marks([(name, name) for name in PAGES["one family"]]).values():
            axes.plot([0, 1], [0, 1], marker=mark.marker, color=mark.color)
    assert to_svg(figure, "markers", "all markers").count("<use") > 40
