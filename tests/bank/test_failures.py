"""A change of a bank that fails at any point leaves the bank in its state before or after the change."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import taskfold as tfold
from taskfold import Bank
from taskfold.model import _heads, _table

from .faults import FAULTS
from .pool import Pool

pool = Pool()
Change = Callable[[Bank], object]
CHANGES: dict[str, tuple[list[str], Change, dict[str, str]]] = {
    "into an empty bank": ([], lambda bank: bank.add(pool.model["thin"]), {"thin": "thin"}),
    "into a new place": (["thin"], lambda bank: bank.add(pool.model["thin"], "b"), {"thin": "thin", "b": "thin"}),
    "into another layout": (
        ["norm"],
        lambda bank: bank.add(pool.model["wide"]),
        {"norm": "norm", "wide": "wide"},
    ),
    "out": (["thin", "tuned", "head"], lambda bank: bank.remove("tuned"), {"thin": "thin", "head": "head"}),
    "out, most heads gone": (
        ["wide", "norm", "thin"],
        lambda bank: bank.remove("norm"),
        {"wide": "wide", "thin": "thin"},
    ),
}


SLOW = ("into an empty bank", "into a new place")
PAIRS = [(change, fault) for change in CHANGES for fault in FAULTS if fault != "Ctrl-C" or change not in SLOW]
STEP = {"Ctrl-C": 23, "out of memory": 5}
EVERY = [
    pytest.param(change, fault, every, marks=pytest.mark.whole if every == 1 else ())
    for change, fault in PAIRS
    for every in (1, STEP[fault])
]
"""Ctrl-C comes at each line of Python, and memory is out at each operator; at every 23rd and 5th in every run."""


@pytest.mark.parametrize(("change", "fault", "every"), EVERY)
def test_wherever_it_fails(change: str, fault: str, every: int) -> None:
    before, run, after = CHANGES[change]
    mode, error = FAULTS[fault]
    for at in itertools.count(step=every):
        bank = pool.model.bank(before)
        held = {name: name for name in before}
        try:
            with mode(at) as injected:
                run(bank)
        except error:
            if list(bank) == list(after):  # Ctrl-C came after the change
                held = after
        else:
            held = after
        assert list(bank) == list(held)
        for name, key in (("later", "wide"), ("last", "tuned")):  # the place of a task that failed is nobody's
            bank.add(pool.model[key], name)
            held = {**held, name: key}
        pool.check_all(bank, held, broadcast=False)
        if not injected.struck:
            break
    assert at > 2 or not before or change.startswith("out"), "the fault never came"


STEPS = [
    (_heads.Heads, "added"),
    (_heads.Heads, "check"),
    (_heads, "room"),
    (_table, "room"),
    (_table, "_row"),
    (_table, "_merged"),
    (_table.Table, "_laid_out"),
    (torch, "cat"),
    (Bank, "_read"),
    (Bank, "_publish"),
]


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, torch.OutOfMemoryError])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[0].__name__}.{step[1]}")
def test_whichever_step_fails(
    step: tuple[Any, str], error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = pool.model.bank(["thin", "norm", "head"])
    bank.remove("thin")

    def failing(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(*step, failing)
        with pytest.raises(error):
            bank.add(pool.model["tuned"])
    held = {"norm": "norm", "head": "head"}
    pool.check_all(bank, held)
    bank.add(pool.model["wide"])
    pool.check_all(bank, {**held, "wide": "wide"})


def test_two_tasks_never_share_a_row() -> None:
    """As a device does that is out of memory when a table grows: the free place stays free, and nobody's is taken."""
    model = tfold.MultiTask(nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), num_features=4)
    for n, name in enumerate("abcd"):
        task = model.add_task(name, head=2, method=tfold.HeadOnly())
        nn.init.constant_(task.head.weight, 0.0)  # type: ignore[union-attr]
        nn.init.constant_(task.head.bias, float(n))  # type: ignore[union-attr]
    big = model.add_task("big", head=50, method=tfold.HeadOnly())
    model.eval()
    bank = model.bank(["a", "b", "c"])
    bank.remove("a")
    added, _heads.Heads.added = _heads.Heads.added, lambda *_: (_ for _ in ()).throw(MemoryError())  # type: ignore[method-assign]
    try:
        with pytest.raises(MemoryError):
            bank.add(big)
    finally:
        _heads.Heads.added = added  # type: ignore[method-assign]
    bank.add(model["d"])
    found = bank(torch.randn(3, 1, 4, 4), task=["b", "c", "d"])
    assert [row.tolist() for row in found] == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
