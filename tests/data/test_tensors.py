from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from taskfold.data import ArrayImages, ImageSet, ImageTensors, Preprocessing

N = 12
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 10, 10, 3), dtype=np.uint8)
IMAGES = ImageSet(list(range(N)), ArrayImages(PIXELS), [str(i) for i in range(N)])
VARIED = Preprocessing(size=16, flip=True, crop="random-resized")


def tensors(**settings: Any) -> ImageTensors:
    return ImageTensors(IMAGES, VARIED, **{"train": True, "seed": 5, **settings})


def everything(data: ImageTensors, **loader: Any) -> Tensor:
    """All images in the order of their targets, however they were loaded."""
    batches = list(DataLoader(data, batch_size=5, **loader))
    pixels, targets = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
    return pixels[targets.argsort()]


def test_order_and_processes_do_not_change_an_image() -> None:
    plain = everything(tensors())
    assert torch.equal(plain, everything(tensors(), shuffle=True))
    assert torch.equal(plain, everything(tensors(), shuffle=True, num_workers=2))


def test_seed_and_epoch_do() -> None:
    data = tensors()
    first = everything(data)
    assert not torch.equal(first, everything(tensors(seed=6)))
    data.set_epoch(1)
    assert not torch.equal(first, everything(data))
    data.set_epoch(0)
    assert torch.equal(first, everything(data))


def test_the_epoch_reaches_processes_that_are_running() -> None:
    data = tensors()
    loader = DataLoader(data, batch_size=5, num_workers=1, persistent_workers=True)
    seen = []
    for epoch in range(2):
        data.set_epoch(epoch)
        seen.append(torch.cat([pixels for pixels, _ in loader]))
    assert torch.equal(seen[1], everything(data))
    assert not torch.equal(*seen)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    everything(tensors(), generator=torch.Generator())
    assert torch.equal(before, torch.get_rng_state())


def test_it_can_be_sent_to_another_process() -> None:
    data = tensors()
    data.set_epoch(3)
    assert torch.equal(everything(pickle.loads(pickle.dumps(data))), everything(data))


@pytest.mark.parametrize("train", [False, True])
def test_the_cache_changes_nothing_but_the_number_of_reads(train: bool) -> None:
    reads: list[int] = []

    def read(index: int) -> Any:
        reads.append(index)
        return IMAGES.read(index)

    counted = ImageSet(IMAGES.targets, read, IMAGES.names)
    cached = ImageTensors(counted, VARIED, train, seed=5)
    for epoch in range(2):
        cached.set_epoch(epoch)
        again = tensors(train=train, cache_bytes=0)
        again.set_epoch(epoch)
        assert torch.equal(everything(cached), everything(again))
    assert sorted(reads) == list(range(N))


def test_the_cache_keeps_to_its_allowance() -> None:
    data = tensors(train=False, cache_bytes=4 * 3 * 16 * 16)
    data.preload(threads=2)
    assert len(data._cache) == 4
    everything(data)
    assert len(data._cache) == 4


def test_preloading_reads_all_at_once() -> None:
    data = tensors(train=False)
    plain = everything(tensors(train=False, cache_bytes=0))
    data.preload()
    assert len(data._cache) == N
    assert torch.equal(everything(data), plain)


def test_targets_are_plain_numbers() -> None:
    images = ImageSet(np.array([7]).tolist(), ArrayImages(PIXELS[:1]), ["a"])
    assert type(ImageTensors(images, VARIED)[0][1]) is int
