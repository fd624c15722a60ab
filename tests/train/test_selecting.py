"""Any reported score selects the best epoch, also one of all validation samples together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import taskfold as tfold
from taskfold.problems import MultiLabel, Ordinal, Problem, Regression, TokenClassification
from taskfold.train import OptimizerSettings, Settings, train_task
from taskfold.train._state import LESS_IS_BETTER

torch.manual_seed(0)
X = torch.randn(37, 6)
LEVELS = (X[:, 0] > 0).long() + (X[:, 1] > 0.5).long()


def worst(outputs: Tensor, targets: Tensor) -> float:
    """A metric of the user's own."""
    return -float((outputs - targets).abs().max())


NUMBERS = Regression(columns=("a", "b"), mean=(50.0, -2.0), std=(20.0, 0.1))
CASES: list[tuple[Problem, int, Tensor, str]] = [
    (NUMBERS, 2, X[:, :2] * torch.tensor([20.0, 0.1]) + torch.tensor([50.0, -2.0]), "r2"),
    (NUMBERS, 2, X[:, :2] * torch.tensor([20.0, 0.1]) + torch.tensor([50.0, -2.0]), "rmse"),
    (Regression(metrics=(worst,)), 1, X[:, 0], "worst"),
    *((MultiLabel(), 3, (X[:, :3] > 0).float(), by) for by in ("macro_f1", "micro_f1", "average_precision")),
    (MultiLabel(), 3, (X[:, :3] > 0).float(), "exact_match"),
    (Ordinal(), 3, LEVELS, "kappa"),
]


@pytest.mark.parametrize(("problem", "outputs", "targets", "by"), CASES, ids=[case[-1] for case in CASES])
def test_a_score_of_all_samples_selects(problem: Problem, outputs: int, targets: Tensor, by: str) -> None:
    torch.manual_seed(0)
    model = tfold.MultiTask(nn.Flatten(), tfold.HeadOnly(), num_features=6)
    task = model.add_task("a", head=outputs)
    data = TensorDataset(X, targets)
    settings = Settings(epochs=6, batch_size=8, select_by=by, optimizers={"head": OptimizerSettings(lr=0.1)})
    result = train_task(model, "a", data, data, settings, problem=problem, quiet=True)
    assert result.selected_by == by
    curve = [one[f"val_{by}"] for one in result.curve]
    assert len({*curve}) > 1
    assert result.best[f"val_{by}"] == (min if by in LESS_IS_BETTER else max)(curve)
    problem.settle(task.head)
    with torch.no_grad():
        plain = Regression(columns=("a", "b")) if problem is NUMBERS else problem
        scores = plain.scores(model.eval()(X, task="a"), targets)
    assert scores[by] == pytest.approx(result.best[f"val_{by}"], rel=1e-4)


def test_words_of_texts_of_several_lengths() -> None:
    batches = [(torch.randn(2, size, 3), torch.randint(0, 3, (2, size))) for size in (4, 6)]
    batches[1][1][:, 4:] = -100
    found = TokenClassification().scores_of(batches)
    right = sum(int((outputs.argmax(-1) == goals).sum()) for outputs, goals in batches)
    assert found["word_accuracy"] == pytest.approx(right / 16)


def test_a_score_that_is_undefined_is_said() -> None:
    model = tfold.MultiTask(nn.Flatten(), tfold.HeadOnly(), num_features=6)
    model.add_task("a", head=1)
    data = TensorDataset(X, torch.ones(len(X)))
    with pytest.raises(ValueError, match="task 'a': r2 of the validation data is undefined; choose another select_by"):
        train_task(model, "a", data, data, Settings(epochs=1, select_by="r2"), problem=Regression(), quiet=True)
