from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from taskfold.dense import DenseSample, Depth, Edges, Kind, Normals, Protocol, Segmentation, nyud, nyuv2

SIZE = (3, 4, 5)  # samples, height, width


def targets(kind: Kind, random: np.random.Generator) -> Tensor:
    """Some pixels invalid, the last sample without a valid one."""
    count, height, width = SIZE
    values: np.ndarray[Any, Any]
    match kind:
        case Segmentation():
            values = random.integers(-1, kind.classes, SIZE)
        case Depth():
            values = random.uniform(-1, 5, SIZE)
        case Normals():
            values = random.normal(size=(*SIZE, 3))
            values /= np.linalg.norm(values, axis=-1, keepdims=True)
            values[random.random(SIZE) < 0.2] = 0
        case _:
            values = random.random(SIZE)
            values[random.random(SIZE) < 0.2] = np.nan
    cleaned = [kind.clean(sample) for sample in values[: count - 1]]
    return torch.stack([*cleaned, kind.missing(height, width)])


def slow_entropy(out: np.ndarray, target: np.ndarray) -> float | None:
    if target[0] == 255:
        return None
    return math.log(sum(math.exp(v) for v in out)) - float(out[int(target[0])])


def slow_depth(out: np.ndarray, target: np.ndarray) -> float | None:
    return abs(float(out[0]) - float(target[0])) if target[0] > 0 else None


def slow_l1(out: np.ndarray, target: np.ndarray) -> float | None:
    length = math.sqrt(sum(v * v for v in out))
    return sum(abs(o / length - t) for o, t in zip(out, target, strict=True)) / 3 if any(target) else None


def slow_cosine(out: np.ndarray, target: np.ndarray) -> float | None:
    length = math.sqrt(sum(v * v for v in out))
    return 1 - sum(o * t for o, t in zip(out, target, strict=True)) / length if any(target) else None


def slow_edges(out: np.ndarray, target: np.ndarray) -> float | None:
    if target[0] < 0:
        return None
    p = 1 / (1 + math.exp(-out[0]))
    return -0.95 * target[0] * math.log(p) - 0.05 * (1 - target[0]) * math.log(1 - p)


CASES: list[tuple[Kind, Callable[[np.ndarray, np.ndarray], float | None]]] = [
    (Segmentation(4), slow_entropy),
    (Depth(), slow_depth),
    (Normals(), slow_l1),
    (Normals(error="cosine"), slow_cosine),
    (Edges(), slow_edges),
]
IDS = ["segmentation", "depth", "normals l1", "normals cosine", "edges"]


@pytest.mark.parametrize(("kind", "slow"), CASES, ids=IDS)
def test_every_sample_has_the_mean_over_its_valid_pixels(kind: Kind, slow: Callable[..., float | None]) -> None:
    random = np.random.default_rng(1)
    target = targets(kind, random)
    output = torch.from_numpy(random.normal(size=(SIZE[0], kind.channels, *SIZE[1:])))
    found = kind.loss(output, target)
    for sample in range(SIZE[0]):
        pixels = [
            slow(output[sample, :, y, x].numpy(), target[sample, :, y, x].numpy().astype(float))
            for y in range(SIZE[1])
            for x in range(SIZE[2])
        ]
        known = [value for value in pixels if value is not None]
        assert float(found[sample]) == pytest.approx(np.mean(known) if known else 0.0, rel=1e-5)
        assert bool(known) == (sample < SIZE[0] - 1)


@pytest.mark.parametrize(("kind", "slow"), CASES, ids=IDS)
def test_no_gradient_reaches_invalid_pixels_and_it_is_finite_everywhere(kind: Kind, slow: Any) -> None:
    target = targets(kind, np.random.default_rng(2))
    for start in (torch.zeros, torch.randn):  # a head that begins at zero, too
        output = start(SIZE[0], kind.channels, *SIZE[1:]).requires_grad_()
        kind.loss(output, target).sum().backward()
        assert output.grad is not None and output.grad.isfinite().all()
        valid = kind.valid(target).expand_as(output)
        assert (output.grad[~valid] == 0).all()
        assert (output.grad[-1] == 0).all() and (output.grad[0] != 0).any()


def test_protocols_weigh_as_published() -> None:
    protocol = nyud()
    assert {task: protocol.weights.get(task, 1.0) for task in protocol.kinds} == {
        "segmentation": 1, "depth": 1, "normals": 10, "edges": 50,
    }  # fmt: skip
    sample = DenseSample(torch.zeros(3, 4, 4), {"edges": torch.ones(1, 4, 4)})
    batch = protocol.collate([sample])
    outputs = {task: torch.zeros(1, channels, 4, 4) for task, channels in protocol.channels.items()}
    losses = protocol.losses(outputs, batch)
    assert float(losses["edges"]) == pytest.approx(50 * 0.95 * math.log(2))
    assert [float(losses[task]) for task in ("segmentation", "depth", "normals")] == [0, 0, 0]
    assert {task: bool(there) for task, there in batch.present.items()} == {
        "segmentation": False, "depth": False, "normals": False, "edges": True,
    }  # fmt: skip
    normals = nyuv2().kinds["normals"]
    assert isinstance(normals, Normals) and normals.error == "cosine"


def test_outputs_of_another_size_are_refused() -> None:
    batch = nyuv2().collate([DenseSample(torch.zeros(3, 4, 4), {})])
    with pytest.raises(ValueError, match=r"depth: the output must be \[1, 1, 4, 4\], found \[1, 1, 2, 2\]"):
        nyuv2().loss("depth", torch.zeros(1, 1, 2, 2), batch)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": {}}, "at least one"),
        ({"kinds": {"depth": Depth()}, "weights": {"edges": 1}}, "not among"),
        ({"kinds": {"depth": Depth()}, "weights": {"depth": 0}}, "positive"),
    ],
)
def test_impossible_protocols_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Protocol(**settings)


def test_a_map_without_a_valid_pixel_is_as_a_missing_one() -> None:
    protocol = nyuv2(classes=3).only(["depth"])
    image = torch.rand(3, 4, 4)
    empty, missing = ({"depth": torch.zeros(1, 4, 4)}, {})
    found = [
        protocol.collate([DenseSample(image, {"depth": torch.ones(1, 4, 4)}), DenseSample(image, targets)])
        for targets in (empty, missing)
    ]
    assert [one.present["depth"].tolist() for one in found] == [[True, False]] * 2
