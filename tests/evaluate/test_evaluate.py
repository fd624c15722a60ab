"""Metrics against their definitions; measuring changes nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from taskfold import FTN, MultiTask
from taskfold.evaluate import Tally, evaluate, predict


def model(classes: int = 7) -> MultiTask:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(4, 8, 3),
        nn.BatchNorm2d(8),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    made = MultiTask(net, FTN(rank=2, init="normal"), num_features=8)
    made.add_task("a", classes)
    return made


def data(targets: list[int]) -> TensorDataset:
    return TensorDataset(torch.randn(len(targets), 3, 8, 8), torch.tensor(targets))


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_metrics_are_what_they_are_defined_as(batch_size: int) -> None:
    net, samples = model(), data([0, 1, 2, 2, 4, 5, 6, 0, 1, 2])
    inputs, targets = samples.tensors
    outputs = net.eval()(inputs, task="a").detach()
    found = evaluate(net, "a", samples, batch_size=batch_size, confusion=True)
    right = outputs.argmax(1) == targets
    assert found.count == 10
    assert found.accuracy == pytest.approx(right.double().mean().item())
    assert found.loss == pytest.approx(F.cross_entropy(outputs, targets).item(), rel=1e-5)
    assert found.recall == [
        pytest.approx(right[targets == c].double().mean().item()) if c != 3 else None for c in range(7)
    ]
    top5 = [bool(t in row.topk(5).indices) for row, t in zip(outputs, targets, strict=True)]
    assert found.top5 == pytest.approx(sum(top5) / 10)
    assert found.confusion is not None
    for true, guess in zip(targets.tolist(), outputs.argmax(1).tolist(), strict=True):
        assert found.confusion[true][guess] > 0
    assert sum(map(sum, found.confusion)) == 10


def test_five_classes_have_no_top_five() -> None:
    found = evaluate(model(5), "a", data([0, 1, 4]))
    assert found.top5 is None
    assert found.confusion is None
    assert found.as_json()["count"] == 3


def test_measuring_changes_nothing() -> None:
    net = model().train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    evaluate(net, "a", data([0, 1]))
    predict(net, "a", torch.randn(2, 3, 8, 8))
    assert net.training
    assert net["a"].training
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_predictions_are_probabilities_of_tensors_and_data_sets() -> None:
    net, samples = model(), data([0, 1, 2, 3, 4])
    wanted = net.eval()(samples.tensors[0], task="a").softmax(1)
    assert torch.allclose(predict(net, "a", samples.tensors[0], 2), wanted, atol=1e-6)
    assert torch.equal(predict(net, "a", samples, 2), predict(net, "a", samples.tensors[0], 2))
    assert torch.equal(predict(net, "a", list(samples.tensors[0]), 2), predict(net, "a", samples, 2))  # type: ignore[arg-type]


class Endless(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self):
        yield torch.zeros(3, 8, 8), 0


@pytest.mark.parametrize(
    ("samples", "name", "message"),
    [
        (data([0, 7]), "a", "7 outputs, but a target is 7"),
        (data([0, -1]), "a", "a target is -1"),
        (data([]), "a", "is empty"),
        (Endless(), "a", "map-style"),
        (data([0]), "b", "task 'b' is not known"),
        (TensorDataset(torch.zeros(2, 3, 8, 8), torch.zeros(2)), "a", "whole numbers"),
    ],
)
def test_errors_say_what_is_wrong(samples: Dataset, name: str, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        evaluate(model(), name, samples)


def test_a_batch_holds_something() -> None:
    with pytest.raises(ValueError, match="batch_size must be ≥ 1, found 0"):
        evaluate(model(), "a", data([0]), batch_size=0)
    with pytest.raises(ValueError, match="nothing was counted"):
        Tally().result()


def answering(confusion: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs and targets with this confusion matrix."""
    cells = [(true, said) for true, row in enumerate(confusion) for said, n in enumerate(row) for _ in range(n)]
    targets, answers = map(torch.tensor, zip(*cells, strict=True))
    return F.one_hot(answers, len(confusion)).float(), targets


@pytest.mark.parametrize(
    ("confusion", "wanted"),
    [
        ([[136, 2], [57, 0]], "no better"),  # finds none of 57 defects
        ([[138, 0], [57, 0]], "no better"),
        ([[110, 28], [17, 40]], "better"),  # below the largest class by accuracy alone, and finds most
        ([[3, 1], [1, 2]], "undecided"),
        ([[40, 2, 0], [3, 30, 2], [0, 1, 0]], "better"),
        ([[0, 0], [0, 9]], "no better"),  # one class: nothing to tell apart
    ],
)
def test_scores_are_those_of_scikit_learn_and_say_what_they_are_worth(confusion: list[list[int]], wanted: str) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    outputs, targets = answering(confusion)
    tally = Tally()
    for rows in (slice(0, 5), slice(5, None)):
        tally.add(outputs[rows], targets[rows])
    found, said = tally.result(), outputs.argmax(1)
    assert found.macro_f1 == pytest.approx(sklearn.f1_score(targets, said, average="macro"))
    if len(targets.unique()) > 1:
        assert found.balanced_accuracy == pytest.approx(sklearn.balanced_accuracy_score(targets, said))
    assert found.majority == pytest.approx(targets.bincount().max().item() / len(targets))
    assert targets.bincount()[found.largest] == targets.bincount().max()
    assert found.interval[0] < found.accuracy <= found.interval[1]
    assert found.verdict == wanted
