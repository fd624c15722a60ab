from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.regression import MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError

from taskfold.dense import DenseSample, DenseScores, Depth, Edges, Normals, Segmentation, delta_m, nyuv2
from taskfold.dense.metrics import EdgeScores

RANDOM = torch.Generator().manual_seed(0)


def rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=RANDOM)


def test_segmentation_against_counting_and_torchmetrics() -> None:
    predicted = torch.randint(0, 4, (3, 1, 6, 5), generator=RANDOM)  # class 4 is predicted nowhere, 5 nowhere at all
    target = torch.randint(0, 5, (3, 1, 6, 5), generator=RANDOM)
    target[target == 3] = 255  # so class 3 is only ever predicted
    metric = Segmentation(6).metric()
    for one in range(3):
        metric.update(predicted[one : one + 1].to(torch.uint8), target[one : one + 1].to(torch.uint8))
    scores = metric.compute()

    pairs = [(p, t) for p, t in zip(predicted.flatten().tolist(), target.flatten().tolist(), strict=True) if t != 255]
    unions = []
    for label in range(6):
        both = sum(p == t == label for p, t in pairs)
        either = sum(label in pair for pair in pairs)
        unions += [both / either] if either else []
    assert len(unions) == 5
    assert scores["miou"] == pytest.approx(sum(unions) / 5)
    assert scores["pixel_accuracy"] == pytest.approx(sum(p == t for p, t in pairs) / len(pairs))
    theirs = MulticlassJaccardIndex(6, average="macro", ignore_index=255)
    assert scores["miou"] == pytest.approx(float(theirs(predicted, target)))


def test_depth_against_torchmetrics_on_the_valid_pixels() -> None:
    predicted, target = rand(4, 1, 5, 6) * 5 - 1, rand(4, 1, 5, 6) * 5
    target[target < 1] = 0
    target[3] = 0
    metric = Depth().metric()
    for one in range(4):
        metric.update(predicted[one : one + 1], target[one : one + 1])
    valid = target > 0
    theirs = {
        "rmse": MeanSquaredError(squared=False),
        "absolute": MeanAbsoluteError(),
        "relative": MeanAbsolutePercentageError(),
    }
    for name, value in metric.compute().items():
        assert value == pytest.approx(float(theirs[name](predicted[valid], target[valid])), rel=1e-5)


def test_normals_against_angles_one_by_one() -> None:
    predicted, target = rand(3, 3, 6, 7) - 0.5, rand(3, 3, 6, 7) - 0.5
    target = torch.nn.functional.normalize(target, dim=1)
    predicted[:2] = target[:2] + 0.3 * predicted[:2]  # so that every threshold has some on both sides
    target[:, :, 0] = 0
    predicted[0, :, 1, 1] = 0  # no direction
    metric = Normals().metric()
    metric.update(predicted[:1], target[:1])
    metric.update(predicted[1:], target[1:])

    angles = []
    for b, y, x in product(range(3), range(1, 6), range(7)):
        a, t = predicted[b, :, y, x].double().numpy(), target[b, :, y, x].double().numpy()
        length = np.linalg.norm(a) * np.linalg.norm(t)
        angles.append(math.degrees(math.acos(np.clip(a @ t / length, -1, 1))) if length else 90.0)
    scores = metric.compute()
    assert scores["mean"] == pytest.approx(np.mean(angles), rel=1e-5)
    assert scores["median"] == pytest.approx(np.median(angles), abs=0.01)
    for limit in ("11.25", "22.5", "30"):
        assert scores[f"within_{limit}"] == pytest.approx(np.mean(np.array(angles) < float(limit)))
        assert 0 < scores[f"within_{limit}"] < 1


def test_small_angles_are_not_lost() -> None:
    turn = math.radians(0.01)
    metric = Normals().metric()
    metric.update(
        torch.tensor([math.sin(turn), 0, math.cos(turn)]).view(1, 3, 1, 1), torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1)
    )
    assert metric.compute()["mean"] == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("tolerance", [0.0, 0.15, 0.2])
def test_edges_against_every_pair_at_every_threshold(tolerance: float) -> None:
    predicted, target = rand(2, 1, 7, 9), (rand(2, 1, 7, 9) < 0.15).float()
    predicted = (predicted + 0.4 * target).clamp(max=1)
    predicted[:, :, ::2] = (predicted[:, :, ::2] * 20).round() / 20  # exactly at thresholds
    target[:, :, 2, 3:6] = -1
    metric = EdgeScores(tolerance)
    metric.update(predicted[:1], target[:1])
    metric.update(predicted[1:], target[1:])

    reach = tolerance * math.hypot(7, 9)
    best = (-1.0, 0.0, 0.0, 0.0)
    for step in range(1, 100):
        threshold = torch.tensor(step / 100)  # in float32, as the predictions are
        right = shown = found = true = 0
        for image in range(2):
            p, t = predicted[image, 0], target[image, 0]
            chosen = [(y, x) for y, x in product(range(7), range(9)) if t[y, x] >= 0 and p[y, x] >= threshold]
            edges = [(y, x) for y, x in product(range(7), range(9)) if t[y, x] >= 0.5]
            right += sum(any(math.dist(c, e) <= reach for e in edges) for c in chosen)
            found += sum(any(math.dist(c, e) <= reach for c in chosen) for e in edges)
            shown, true = shown + len(chosen), true + len(edges)
        precision, recall = right / max(shown, 1), found / true
        f = 2 * precision * recall / (precision + recall) if precision + recall else 0
        if f > best[0] + 1e-12:
            best = (f, precision, recall, step / 100)
    scores = metric.compute()
    assert [scores[name] for name in ("odsF", "precision", "recall", "threshold")] == pytest.approx(best)
    assert best[0] > 0.1


@pytest.mark.parametrize("kind", [Segmentation(3), Depth(), Normals(), Edges()], ids=lambda kind: kind.name)
def test_nothing_to_score_is_an_error(kind: Segmentation | Depth | Normals | Edges) -> None:
    metric = kind.metric()
    metric.update(kind.predict(torch.zeros(1, kind.channels, 2, 2)), kind.missing(2, 2)[None])
    with pytest.raises(ValueError, match=f"{kind.name}: .* nothing to score"):
        metric.compute()


@pytest.mark.parametrize("kind", [Segmentation(3), Depth(), Normals(), Edges()], ids=lambda kind: kind.name)
def test_every_score_says_which_way_is_better(kind: Segmentation | Depth | Normals | Edges) -> None:
    metric = kind.metric()
    target = kind.missing(2, 2)[None] * 0 + 1
    metric.update(target, target)
    assert set(metric.compute()) - {"threshold"} == set(kind.higher_is_better)
    assert kind.main in kind.higher_is_better


def test_all_tasks_together() -> None:
    protocol = nyuv2(3)
    truth = {"segmentation": torch.ones(1, 4, 4, dtype=torch.uint8), "depth": torch.full((1, 4, 4), 2.0)}
    batch = protocol.collate([DenseSample(torch.zeros(3, 4, 4), truth)])
    scores = DenseScores(protocol)
    with pytest.raises(ValueError, match="nothing was counted"):
        scores.result()
    logits = torch.tensor([0.0, 5, 0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    scores.update({"segmentation": logits, "depth": torch.full((1, 1, 4, 4), 3.0)}, batch)
    found = scores.result()
    assert found["segmentation"]["miou"] == 1 and found["depth"]["rmse"] == 1
    assert protocol.delta_m(found, {"segmentation": {"miou": 0.5}, "depth": {"rmse": 0.8}}) == pytest.approx(
        (100 - 25) / 2
    )
    with pytest.raises(ValueError, match="depth: the output holds NaN"):
        scores.update({"depth": torch.full((1, 1, 4, 4), torch.nan)}, batch)


def test_delta_m_needs_the_same_tasks_and_something_to_be_relative_to() -> None:
    with pytest.raises(ValueError, match="same tasks"):
        delta_m({"a": 1}, {"b": 1}, {"a": True})
    with pytest.raises(ValueError, match="must be > 0"):
        delta_m({"a": 1}, {"a": 0}, {"a": True})
