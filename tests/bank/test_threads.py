"""Threads use a bank while others change it; the whole campaign is `python -m tests.bank.campaign`."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

import taskfold as tfold

from .campaign import Campaign, Canaries, WrongAnswer, generation_of


def test_a_small_campaign() -> None:
    campaign = Campaign(askers=4, changers=3, answers=1000)
    counts = campaign.run()
    assert not campaign.problems
    assert counts["wrong"] == counts["errors"] == 0
    assert counts["answers"] >= 1000 - 4
    for what in ("added", "removed", "failed inside", "stale indices refused", "refused by name"):
        assert counts[what] > 0, f"the campaign shows nothing: 0 {what}"


def test_a_canary_tells() -> None:
    canaries = Canaries(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).double())
    x = torch.randn(1, 3).double()
    canaries("3", 7), canaries("8", 7)
    assert generation_of(canaries.model(x, task="3")[0], "3") == 7
    for wrong in ("8", "2"):
        with pytest.raises(WrongAnswer):
            generation_of(canaries.model(x, task="3")[0], wrong)
    canaries.model["3"].head, canaries.model["8"].head = canaries.model["8"].head, canaries.model["3"].head
    with pytest.raises(WrongAnswer, match="head 708, row 703"):
        generation_of(canaries.model(x, task="3")[0], "8")


def test_heads_that_move_do_not_move_answers() -> None:
    """The first of 200 tasks goes and comes while others answer."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 64, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = tfold.MultiTask(net, tfold.HeadOnly(), num_features=64).eval()
    for n in range(200):
        model.add_task(f"t{n}", head=100)
    bank, x, over = model.bank(), torch.randn(2, 1, 4, 4), threading.Event()
    changes = 0

    def churn() -> None:
        nonlocal changes
        while not over.is_set():
            for name in ("t0", "t7", "t100"):
                bank.remove(name)
                changes += 1
            for name in ("t100", "t0", "t7"):
                bank.add(model[name])

    thread = threading.Thread(target=churn)
    with torch.no_grad():
        right = bank(x, task=["t150", "t199"])
        thread.start()
        try:
            for _ in range(400):
                assert all(map(torch.equal, bank(x, task=["t150", "t199"]), right))
        finally:
            over.set()
            thread.join()
    assert changes > 10
