"""Tasks combined from tasks, against the papers' formulas on dense weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

pytestmark = pytest.mark.filterwarnings("ignore::taskfold.AdaptationWarning")


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6), nn.Flatten(), nn.Linear(18, 8), nn.ReLU(), nn.Linear(8, 4)
    )
    nn.init.uniform_(net[1].running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return net.eval()


METHODS: list[tfold.Method] = [
    tfold.LoRA(2, layers="any", own="1.*"),
    tfold.FTN(rank=3, stem=True, alpha=2.0),
    tfold.DoRA(2, layers="any"),
]


def built(*methods: tfold.Method) -> tfold.MultiTask:
    model = tfold.MultiTask(network()).eval()
    torch.manual_seed(1)
    for n, method in enumerate(methods):
        task = model.add_task("abc"[n], method=method)
        for tensor in [*task.parameters(), *(one for one in task.buffers() if one.is_floating_point())]:
            tensor.data.add_(torch.rand_like(tensor) - 0.3)
    return model


def vector(model: tfold.MultiTask, name: str) -> dict[str, Tensor]:
    """What a task adds to each tensor of the network."""
    state, made = model.backbone.state_dict(), model.materialise(name)
    return {key: made.get(key, one).detach() - one for key, one in state.items() if one.is_floating_point()}


def flat(held: dict[str, Tensor]) -> Tensor:
    return torch.cat([held[key].flatten() for key in sorted(held)]).double()


@pytest.mark.parametrize("weights", [["a", "b"], {"a": 0.25, "b": 0.75}, {"a": 1.0}])
@pytest.mark.parametrize("methods", [(METHODS[0], METHODS[1]), (METHODS[1], METHODS[2])])
def test_linear(methods: tuple[tfold.Method, ...], weights: Any) -> None:
    model = built(*methods)
    task = model.combine_tasks("both", weights)
    each = weights if isinstance(weights, dict) else dict.fromkeys(weights, 0.5)
    expected = sum(weight * flat(vector(model, name)) for name, weight in each.items())
    torch.testing.assert_close(flat(vector(model, "both")), expected, rtol=1e-5, atol=1e-5)
    x = torch.randn(2, 3, 5)
    torch.testing.assert_close(model(x, task="both"), model.fold("both")(x), rtol=1e-5, atol=1e-5)
    assert task.method["name"] == ("head-only" if "b" in each and methods[1] == METHODS[2] else "lora")


def test_a_difference_is_forgotten_exactly() -> None:
    model = built(tfold.LoRA(2, layers="any"), tfold.LoRA(3, layers="any"))
    task = model.combine_tasks("without", {"a": 1, "b": -1})
    assert task.method["settings"]["rank"] == {"0": 5, "3": 5, "5": 5}
    expected = flat(vector(model, "a")) - flat(vector(model, "b"))
    torch.testing.assert_close(flat(vector(model, "without")), expected, rtol=1e-5, atol=1e-5)


def test_ties() -> None:
    model = built(tfold.LoRA(2, layers="any"), tfold.LoRA(1, layers="any"), tfold.LoRA(3, layers="any"))
    model.combine_tasks("all", ["a", "b", "c"], rule="ties", density=0.4)
    trimmed = []
    for name in "abc":
        held = model.materialise(name)
        mine = flat({key: one for key, one in vector(model, name).items() if key in held})
        least = mine.abs().sort(descending=True).values[round(0.4 * len(mine)) - 1]
        trimmed.append(torch.where(mine.abs() >= least, mine, 0.0))
    each = torch.stack(trimmed)
    expected = []
    for column in each.T:
        sign = column.sum().sign()
        agreeing = column[(column.sign() == sign) & (column != 0)]
        expected.append(agreeing.mean() if len(agreeing) else column.new_zeros(()))
    found = flat({key: one for key, one in vector(model, "all").items() if key in held})
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_dare() -> None:
    model = built(tfold.LoRA(2, layers="any"), tfold.LoRA(2, layers="any"))
    model.combine_tasks("half", {"a": 1.0}, rule="dare", density=0.5, seed=4)
    whole, half = flat(vector(model, "a")), flat(vector(model, "half"))
    kept = half.abs() > 1e-6
    torch.testing.assert_close(half[kept], 2 * whole[kept], rtol=1e-3, atol=1e-5)
    assert 0.4 < kept.sum() / (whole.abs() > 1e-6).sum() < 0.6
    model.combine_tasks("again", {"a": 1.0}, rule="dare", density=0.5, seed=4)
    assert torch.equal(half, flat(vector(model, "again")))
    model.combine_tasks("all", ["a", "b"], rule="dare-ties", density=1.0)
    one, two = flat(vector(model, "a")), flat(vector(model, "b"))
    agree = torch.where(one.sign() == two.sign(), (one + two) / 2, torch.where(one.abs() > two.abs(), one, two))
    torch.testing.assert_close(flat(vector(model, "all")), agree, rtol=1e-4, atol=1e-5)


def test_heads_are_said_whose() -> None:
    model = tfold.MultiTask(nn.Sequential(nn.Linear(3, 4)), tfold.LoRA(1), num_features=4).eval()
    model.add_task("a", head=2, labels=("no", "yes"))
    model.add_task("b", head=3)
    with pytest.raises(ValueError, match="task 'a' has a head; say whose head 'c' has: head='a'"):
        model.combine_tasks("c", ["a", "b"])
    task = model.combine_tasks("c", ["a", "b"], head="a")
    assert task.info.labels == ("no", "yes")
    assert task.head is not None and torch.equal(task.head.weight, model["a"].head.weight)  # type: ignore[union-attr, arg-type]
    model.remove_task("a")
    assert model(torch.randn(5, 3), task="c").shape == (5, 2)


@pytest.mark.parametrize(
    ("tasks", "settings", "words"),
    [
        (["a", "x"], {}, "task 'x' is not known"),
        ([], {}, "at least one"),
        ("a", {}, "must be names"),
        ({"a": float("nan")}, {}, "weight of task 'a' must be a finite number"),
        (["a"], {"rule": "mean"}, "rule='mean' is not known; choose one of linear, ties"),
        (["a"], {"rule": "ties"}, "density must be above 0"),
        (["a"], {"density": 0.5}, "left out for 'linear'"),
        (["a"], {"rule": "ties", "density": True}, "density must be above 0"),
        (["a"], {"rule": "dare", "density": 0.5, "seed": 1.5}, "seed must be a whole number"),
        (["a"], {"seed": 3}, "seed must be .* left out for what draws nothing, found 3 for 'linear'"),
        (["a", "a"], {}, "must name each task once, found 'a' twice"),
        ({"a": -9.0}, {}, "'1.running_var' would have negative variances"),
    ],
)
def test_what_cannot_be_combined_is_refused(tasks: Any, settings: dict[str, Any], words: str) -> None:
    model = built(METHODS[0])
    with pytest.raises((ValueError, TypeError), match=words):
        model.combine_tasks("c", tasks, **settings)
    assert list(model.tasks) == ["a"]


def test_what_is_no_change_of_tensors_is_refused_by_name() -> None:
    model = tfold.MultiTask(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), tfold.BottleneckAdapter(width=2))
    model.add_task("a")
    with pytest.raises(ValueError, match=r"layer '.*': "):
        model.combine_tasks("c", ["a"])
