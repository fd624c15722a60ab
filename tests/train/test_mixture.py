"""The samples of each task in an epoch, and the layout of its batches."""

from __future__ import annotations

from collections import Counter
from math import inf

import numpy as np
import pytest

from taskfold.train._mixture import Mixture
from taskfold.train._sampler import Batches

SIZES = (50, 20, 3)


@pytest.mark.parametrize(
    ("temperature", "cap", "weights"),
    [
        (1.0, None, (50, 20, 3)),
        (2.0, None, (50**0.5, 20**0.5, 3**0.5)),
        (inf, None, (1, 1, 1)),
        (1.0, 10, (10, 10, 3)),
        (2.0, 10, (10**0.5, 10**0.5, 3**0.5)),
    ],
)
def test_every_task_has_its_share(temperature: float, cap: int | None, weights: tuple[float, ...]) -> None:
    mixture = Mixture.of(SIZES, temperature, cap, total=40)
    wanted = 40 * np.array(weights) / sum(weights)
    counts = np.array([mixture.counts(epoch, seed=1) for epoch in range(400)])
    assert (counts.sum(1) == 40).all()
    assert (abs(counts - wanted) < 1 + 1e-9).all()
    # Each epoch rounds up or down by lot; 400 of them agree with the share to four standard deviations of a coin.
    assert (abs(counts.mean(0) - wanted) < 4 * 0.5 / 400**0.5).all()


def test_an_epoch_of_all_data_holds_every_sample_once() -> None:
    for epoch in range(3):
        assert Mixture.of(SIZES).picks(epoch, seed=1).tolist() == list(range(73))
    assert len(Mixture.of(SIZES, cap=10).picks(0, seed=1)) == 23


@pytest.mark.parametrize("temperature", [1.0, 3.0, inf])
def test_every_sample_of_a_task_is_used_equally_often(temperature: float) -> None:
    mixture = Mixture.of(SIZES, temperature, total=31)
    seen = Counter(int(pick) % 73 for epoch in range(20) for pick in mixture.picks(epoch, seed=2))
    for first, last in zip(mixture.offsets, mixture.offsets[1:], strict=False):
        used = [seen[index] for index in range(first, last)]
        assert max(used) - min(used) <= 1
        assert max(used) > 0


def test_a_sample_that_comes_again_in_an_epoch_is_told_apart() -> None:
    picks = Mixture.of(SIZES, inf, total=72).picks(0, seed=0)
    assert len(set(picks.tolist())) == 72
    assert Counter((picks % 73).tolist())[72] == 8


def test_order_is_of_seed_and_epoch_alone_and_goes_on_anywhere() -> None:
    def epoch(seed: int, number: int, start: int = 0, stop: int | None = None) -> list[list[tuple[int, int]]]:
        batches = Batches(Mixture.of(SIZES, 2.0), 8, seed)
        batches.go_to(number, start, stop)
        return list(batches)

    assert epoch(0, 3, start=4) == epoch(0, 3)[4:]
    assert epoch(0, 3, start=4, stop=6) == epoch(0, 3)[4:6]
    assert epoch(0, 3) != epoch(0, 4)
    assert epoch(0, 3) != epoch(1, 3)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_rows_stand_by_task_and_processes_share_every_batch(processes: int) -> None:
    mixture = Mixture.of(SIZES, 2.0)
    shares = [list(Batches(mixture, 12, 0, rank, processes)) for rank in range(processes)]
    whole = list(Batches(mixture, 12, 0))
    assert max(len({owner(mixture, index) for _, index in batch}) for batch in whole) == 3
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares]
        assert sorted(key for part in parts for key in part) == sorted(batch)
        for part in [batch, *parts]:
            owners = [owner(mixture, index) for _, index in part]
            assert owners == sorted(owners)


def owner(mixture: Mixture, index: int) -> int:
    return int(np.searchsorted(mixture.offsets, index % 73, side="right"))
