"""The suite samples the values that are marked `in_turn`, and leaves out only those."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product
from types import SimpleNamespace
from typing import Any

import conftest

VALUES = {"form": ["one", "two", "three"], "case": [object() for _ in range(7)], "update": [(n, {}) for n in range(4)]}


def items(*turns: str) -> list[Any]:
    """One test with all combinations."""
    marks = [SimpleNamespace(args=(name,)) for name in turns]
    return [
        SimpleNamespace(
            function=items,
            callspec=SimpleNamespace(params=dict(zip(VALUES, values, strict=True))),
            iter_markers=lambda _: marks,
        )
        for values in product(*VALUES.values())
    ]


def test_one_value_for_each_combination_of_the_others() -> None:
    every = items("form")
    places = conftest._places(every)
    kept = [item.callspec.params for item in every if conftest._its_turn(item, places)]
    assert Counter((id(one["case"]), id(one["update"])) for one in kept) == Counter(
        (id(case), id(update)) for case, update in product(VALUES["case"], VALUES["update"])
    )
    for first, second in combinations(VALUES, 2):
        pairs = {(id(one[first]), id(one[second])) for one in kept}
        assert len(pairs) == len(VALUES[first]) * len(VALUES[second])


def test_others_stay() -> None:
    every = items()
    assert all(conftest._its_turn(item, conftest._places(every)) for item in every)
