"""All passes of a training: phases in order, turns within an epoch, for epochs of any length."""

from __future__ import annotations

import math
from unittest.mock import Mock

import pytest

from taskfold.methods import Phase
from taskfold.train._passes import Plan, Regime

EPOCHS = {
    "one": [(1, None)],
    "two turns": [(2, None)],
    "a warm-up": [(1, 1), (2, None)],
    "a long warm-up": [(1, 3), (2, None)],
    "three in order": [(1, 2), (3, None), (2, 1)],
    "all counted": [(2, 2), (1, 3)],
}


@pytest.mark.parametrize("case", EPOCHS)
@pytest.mark.parametrize("steps", [None, 17, 23, 40])
def test_a_plan_is_all_passes_one_after_another(case: str, steps: int | None) -> None:
    phases = [Phase(epochs=epochs) for _, epochs in EPOCHS[case]]
    regimes = [[Regime(Mock(), [], name=f"{n}.{place}") for place in range(k)] for n, (k, _) in enumerate(EPOCHS[case])]
    counted = sum(epochs or 0 for _, epochs in EPOCHS[case])
    each = {n: 4 * turns for n, (turns, _) in enumerate(EPOCHS[case])}
    said = sum(each[n] * (epochs or 0) for n, (_, epochs) in enumerate(EPOCHS[case]))
    opened = next((n for n, (_, epochs) in enumerate(EPOCHS[case]) if epochs is None), None)
    left = 5 - counted
    if steps is not None:
        left = max(1, math.ceil((steps - said) / each[opened])) if opened is not None else 0
    lasting = [left if epochs is None else epochs for _, epochs in EPOCHS[case]]
    wanted, epoch = [], 0
    for phase, epochs in enumerate(lasting):
        for _ in range(epochs):
            wanted += [(epoch, phase, place) for place in range(EPOCHS[case][phase][0]) for _ in range(4)]
            epoch += 1
    if steps is not None and len(wanted) < steps:
        with pytest.raises(ValueError, match="lower it, or leave the epochs of one phase open"):
            Plan(phases, regimes, 4, epochs=5, max_steps=steps)
        return
    if steps is not None and {place[1:] for place in wanted[:steps]} != {place[1:] for place in wanted}:
        with pytest.raises(ValueError, match="has trained, in phase"):
            Plan(phases, regimes, 4, epochs=5, max_steps=steps)
        return
    plan = Plan(phases, regimes, 4, epochs=5, max_steps=steps)
    wanted = wanted[:steps]
    found = [(n, one) for n in range(plan.epochs) for one in plan.passes(n)]
    names = [(n, *map(int, one.regime.name.split(".")), one.place) for n, one in found for _ in range(one.steps)]
    assert names == [(*place, place[-1]) for place in wanted]
    assert plan.steps == len(wanted)
    assert [one.number for _, one in found] == list(range(len(found)))
    assert [plan.in_last_phase(n) for n, _ in found] == [
        one.regime.name.startswith(str(len(phases) - 1)) for _, one in found
    ]
    assert plan.passes(plan.epochs) == []
