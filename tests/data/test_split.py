from __future__ import annotations

from collections import Counter

import pytest

from taskfold.data import DataError
from taskfold.data._split import hold_out, thin_out

TARGETS = [0] * 60 + [1] * 30 + [2] * 10


def test_every_class_gives_its_share() -> None:
    kept, held = hold_out(TARGETS, range(100), 0.2, seed=0, purpose="test")
    assert sorted(kept + held) == list(range(100))
    assert Counter(TARGETS[i] for i in held) == {0: 12, 1: 6, 2: 2}


def test_the_seed_and_the_purpose_decide() -> None:
    first = hold_out(TARGETS, range(100), 0.2, seed=1, purpose="test")
    assert first == hold_out(TARGETS, range(100), 0.2, seed=1, purpose="test")
    assert first != hold_out(TARGETS, range(100), 0.2, seed=2, purpose="test")
    assert first != hold_out(TARGETS, range(100), 0.2, seed=1, purpose="val")


@pytest.mark.parametrize("seed", range(5))
def test_equal_images_stay_together(seed: int) -> None:
    keys = [i // 3 for i in range(100)]  # triplets, some of them across two classes
    kept, held = hold_out(TARGETS, keys, 0.3, seed, "test")
    assert not {keys[i] for i in kept} & {keys[i] for i in held}
    assert held


def test_small_classes_give_one_or_none() -> None:
    kept, held = hold_out([0, 1, 1], range(3), 0.9, seed=0, purpose="val")
    assert 0 in kept
    assert len(held) == 1
    assert hold_out([0, 0], ["same", "same"], 0.5, seed=0, purpose="val") == ([0, 1], [])


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed: must be a whole number >= 0, found -1"):
        hold_out([0], [0], 0.5, seed=-1, purpose="val")


@pytest.mark.parametrize(
    ("size", "classes"), [(100, {0: 60, 1: 30, 2: 10}), (10, {0: 6, 1: 3, 2: 1}), (3, {0: 1, 1: 1, 2: 1})]
)
def test_thinning_keeps_proportions_and_classes(size: int, classes: dict[int, int]) -> None:
    chosen = thin_out(TARGETS, size, seed=0, purpose="train")
    assert len(set(chosen)) == size
    assert Counter(TARGETS[i] for i in chosen) == classes


@pytest.mark.parametrize("size", range(1, 14))
def test_thinning_gives_the_size_asked_for(size: int) -> None:
    targets = [0] * 7 + [1] * 5 + [2]
    assert len(set(thin_out(targets, size, seed=3, purpose="train"))) == size


def test_thinning_cannot_make_images() -> None:
    with pytest.raises(DataError, match="train_size: must be at most the 100 images there are, found 101"):
        thin_out(TARGETS, 101, seed=0, purpose="train")
