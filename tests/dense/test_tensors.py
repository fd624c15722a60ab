from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import taskfold as tfold
from taskfold.dense import Augment, DenseBatch, DenseCollate, DenseObjective, DenseSet, DenseTensors, NYUv2, Protocol

from . import folders

AUGMENT = Augment(scale=(0.5, 2), crop=(6, 8), brightness=0.4)


@pytest.fixture
def samples(tmp_path: Path) -> DenseSet:
    return NYUv2(root=folders.nyuv2(tmp_path, {"train": 5, "val": 1}), classes=3).load().train


def everything(data: DenseTensors, **loader: Any) -> dict[str, DenseBatch]:
    """All samples by name, however they were loaded."""
    collate = DenseCollate(data.samples.kinds)
    batches = DataLoader(data, batch_size=2, collate_fn=collate, **loader)
    return {name: batch.rows([row]) for batch in batches for row, name in enumerate(batch.names)}


def same(one: dict[str, DenseBatch], other: dict[str, DenseBatch]) -> bool:
    assert set(one) == set(other)
    return all(
        torch.equal(one[name].images, other[name].images)
        and all(torch.equal(target, other[name].targets[task]) for task, target in one[name].targets.items())
        for name in one
    )


def test_a_view_depends_on_seed_epoch_and_index_alone(samples: DenseSet) -> None:
    data = DenseTensors(samples, AUGMENT, seed=5)
    before = torch.get_rng_state()
    plain = everything(data, generator=torch.Generator())
    assert torch.equal(before, torch.get_rng_state())
    assert same(plain, everything(data, shuffle=True))
    assert same(plain, everything(DenseTensors(samples, AUGMENT, seed=5, cache_bytes=0)))
    assert same(plain, everything(pickle.loads(pickle.dumps(data))))
    assert not same(plain, everything(DenseTensors(samples, AUGMENT, seed=6)))
    data.set_epoch(1)
    assert not same(plain, everything(data))


def test_the_epoch_reaches_processes_that_are_running(samples: DenseSet) -> None:
    data = DenseTensors(samples, AUGMENT, seed=5)
    collate = DenseCollate(samples.kinds)
    loader = DataLoader(data, batch_size=5, num_workers=1, persistent_workers=True, collate_fn=collate)
    for epoch in range(2):
        data.set_epoch(epoch)
        (batch,) = loader
        assert torch.equal(batch.images, torch.cat([one.images for one in everything(data).values()]))


def test_images_are_resized_and_normalised_and_can_be_seen_again(samples: DenseSet) -> None:
    data = DenseTensors(samples, size=(12, 16))
    sample = data[0]
    assert sample.size == (12, 16) and sample.image.min() < -0.5
    # Every pixel doubled, depth as it was.
    assert torch.equal(sample.targets["depth"][:, ::2, 1::2], samples[0].targets["depth"])
    same_size = DenseTensors(samples)
    assert torch.allclose(same_size.image(same_size[0].image), samples[0].image, atol=1e-6)


def test_a_batch_knows_which_targets_are_there(samples: DenseSet) -> None:
    one, other = samples[0], samples[1]
    lacking = type(one)(other.image, {"depth": other.targets["depth"]}, "lacking")
    batch = DenseCollate(samples.kinds)([one, lacking]).to("cpu")
    assert len(batch) == 2 and batch.names == ("0", "lacking")
    assert {task: there.tolist() for task, there in batch.present.items()} == {
        "segmentation": [True, False], "depth": [True, True], "normals": [True, False],
    }  # fmt: skip
    for task, kind in samples.kinds.items():
        assert torch.equal(batch.targets[task][0], one.targets[task])
        assert kind.valid(batch.targets[task][1:]).any() == bool(batch.present[task][1])


def test_samples_of_several_sizes_make_no_batch(samples: DenseSet) -> None:
    with pytest.raises(ValueError, match=r"one size .*\(3, 3\), \(6, 8\)"):
        DenseCollate({})([samples[0], type(samples[0])(torch.zeros(3, 3, 3), {})])
    with pytest.raises(ValueError, match="image and depth must be of one size"):
        type(samples[0])(torch.zeros(3, 3, 3), {"depth": torch.zeros(1, 3, 4)})


def test_the_objective_gives_each_sample_the_loss_of_its_task(samples: DenseSet) -> None:
    protocol = Protocol(samples.kinds, {"depth": 3.0})
    torch.manual_seed(0)
    net = torch.nn.Conv2d(3, 8, 3, padding=1)
    model = tfold.MultiTask(net, tfold.HeadOnly())
    for task, channels in protocol.channels.items():
        model.add_task(task, head=torch.nn.Conv2d(8, channels, 1))
    batch = protocol.collate([samples[index] for index in range(4)])
    tasks = ["depth", "normals", "segmentation", "depth"]
    found = DenseObjective(protocol)(model, batch, tasks)
    for row, task in enumerate(tasks):
        alone = batch.rows([row])
        expected = protocol.weights.get(task, 1.0) * samples.kinds[task].loss(
            model(alone.images, task=task), alone.targets[task]
        )
        assert float(found[row].detach()) == pytest.approx(float(expected[0].detach()), rel=1e-5)
    found.sum().backward()
