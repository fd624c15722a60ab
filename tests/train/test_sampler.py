"""The order of the data, and augmentation, are functions of seed and epoch."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from taskfold.train._classification import label_collate
from taskfold.train._data import Apart, Joined, Keyed
from taskfold.train._mixture import Mixture
from taskfold.train._sampler import Batches, Key

from .cases import Noisy, data


def epoch(batches: Batches, number: int, start: int = 0) -> list[list[Key]]:
    batches.go_to(number, start)
    return list(batches)


def test_an_epoch_holds_every_sample_once_in_an_order_of_its_own() -> None:
    batches = Batches(Mixture.of((23,)), 4, seed=1)
    first, second = epoch(batches, 0), epoch(batches, 1)
    for keys, number in ((first, 0), (second, 1)):
        assert sorted(key for batch in keys for key in batch) == [(number, i) for i in range(23)]
    assert [i for _, i in first[0]] != [i for _, i in second[0]]
    assert epoch(Batches(Mixture.of((23,)), 4, seed=1), 1) == second
    assert epoch(Batches(Mixture.of((23,)), 4, seed=2), 1) != second


def test_going_on_in_an_epoch_gives_what_is_left() -> None:
    batches = Batches(Mixture.of((23,)), 4, seed=1)
    assert epoch(batches, 5, start=2) == epoch(batches, 5)[2:]
    assert epoch(batches, 5, start=len(batches)) == []


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("size", [18, 19, 20, 21, 22, 23, 24])
def test_processes_share_every_batch(size: int, processes: int) -> None:
    shares = [Batches(Mixture.of((size,)), 6, 0, rank, processes) for rank in range(processes)]
    whole = epoch(Batches(Mixture.of((size,)), 6, 0), 0)
    for number, batch in enumerate(zip(*[epoch(share, 0) for share in shares], strict=True)):
        assert min(map(len, batch)) >= 2
        assert sorted(key for keys in batch for key in keys) == sorted(whole[number])
        assert sum(map(len, batch)) == shares[0].total(number)
    rest = size % 6
    assert len(shares[0]) == size // 6 + (rest >= 2 * processes)
    assert shares[0].samples(len(shares[0])) == size - (rest if rest < 2 * processes else 0)


@pytest.mark.parametrize(("size", "batch", "processes"), [(1, 2, 1), (9, 3, 2), (3, 4, 2)])
def test_too_little_for_a_batch_is_an_error(size: int, batch: int, processes: int) -> None:
    with pytest.raises(ValueError, match=f"must be ≥ {2 * processes}"):
        Batches(Mixture.of((size,)), batch, 0, 0, processes)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_augmentation_depends_on_neither_the_past_nor_the_loader() -> None:
    batches = Batches(Mixture.of((20,)), 4, seed=1)
    found = []
    for workers, start in ((0, 0), (2, 0), (0, 2)):
        torch.manual_seed(workers)
        keyed = Keyed(Joined([Noisy(data(20))]), seed=1)
        loader = DataLoader(
            keyed,
            batch_sampler=batches,
            collate_fn=Apart(label_collate),
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        for number in (0, 1):
            batches.go_to(number, start)
            found.append(torch.cat([batch.inputs for _, batch in loader][2 - start :]))
    plain, plain_next, apart, apart_next, late, late_next = found
    assert torch.equal(plain, apart)
    assert torch.equal(plain_next, apart_next)
    assert torch.equal(plain, late)
    assert torch.equal(plain_next, late_next)
    assert not torch.equal(plain.sort(0).values, plain_next.sort(0).values)


def test_one_sample_by_itself() -> None:
    keyed = Keyed(Joined([Noisy(data(4))]), seed=1)
    assert torch.equal(keyed[2, 3][1][0], keyed[2, 3][1][0])
