"""TAPS: gated changes by the formula, closed gates, their files, the penalty."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import TensorDataset

from taskfold import TAPS, MultiTask
from taskfold.factors import Gated, Modes
from taskfold.layers import updates_of
from taskfold.tasks import TaskFileError
from taskfold.train import Settings, train_task


def built(dtype: torch.dtype = torch.float64) -> MultiTask:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = MultiTask(nn.Sequential(*layers).to(dtype), TAPS(norm=False), num_features=2).eval()
    model.add_task("a", 2)
    for part in updates_of(model["a"].to(dtype)).values():
        nn.init.normal_(part.own["delta"])
    return model


def closed(model: MultiTask, layer: str = "0") -> MultiTask:
    with torch.no_grad():
        updates_of(model["a"])[layer].own["score"].fill_(0.099)
    return model


def test_a_gate_is_open_at_the_threshold_and_closed_below_it() -> None:
    gate = Gated().gate
    assert gate(torch.tensor([0.15, 0.1, 0.09, -1.0])).tolist() == [1, 1, 0, 0]
    delta, scores = torch.randn(3, 2, 2), torch.tensor([[0.2], [0.0], [0.1]])
    found = Gated().materialise({"delta": delta, "score": scores}, Modes((2,), (2,)))
    assert torch.equal(found, delta * torch.tensor([1, 0, 1]).reshape(3, 1, 1))


def test_it_is_the_formula_in_value_and_gradient_and_a_closed_layer_is_the_backbones() -> None:
    model = closed(built())
    net, task = model.backbone, model["a"]
    x, parts = torch.randn(3, 3, 8, 8, dtype=torch.float64), updates_of(task)
    weights = {f"{path}.weight": net.get_parameter(f"{path}.weight").clone().requires_grad_() for path in parts}
    with torch.no_grad():
        weights["2.weight"] += parts["2"].own["delta"]
    head = task.head
    assert isinstance(head, nn.Module)
    wanted = head(functional_call(net, weights, (x,)))
    found = model(x, task="a")
    torch.testing.assert_close(found, wanted)
    of_weights = torch.autograd.grad(wanted.square().sum(), list(weights.values()))
    found.square().sum().backward()
    for (path, part), gradient in zip(parts.items(), of_weights, strict=True):
        opened = float(path == "2")
        torch.testing.assert_close(part.own["delta"].grad, opened * gradient)
        torch.testing.assert_close(part.own["score"].grad, (gradient * part.own["delta"]).sum().reshape(1))
    plain = model.fold("a")
    assert isinstance(plain, nn.Module)
    state = plain.state_dict()
    assert any(torch.equal(tensor, net.get_parameter("0.weight")) for tensor in state.values())
    assert not any(torch.equal(tensor, net.get_parameter("2.weight")) for tensor in state.values())


def test_files_leave_out_what_is_closed(tmp_path: Path) -> None:
    model = closed(built())
    path = model.save_task("a", tmp_path / "a.safetensors")
    with safe_open(path, "pt") as file:
        names = list(file.keys())
    assert [name for name in names if name.endswith("delta")] == ["sites.2.0:weight.own.delta"]
    elsewhere = MultiTask(model.backbone, num_features=2).eval()
    elsewhere.load_task(path)
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(elsewhere(x, task="a"), model(x, task="a"))
    assert not updates_of(elsewhere["a"])["0"].own["delta"].any()
    again = elsewhere.save_task("a", tmp_path / "again.safetensors")
    assert again.read_bytes() == path.read_bytes()


def test_a_file_that_leaves_out_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built()
    monkeypatch.setattr("taskfold.model._saving.silent_of", lambda task: frozenset({"sites.0.0:weight.own.delta"}))
    path = model.save_task("a", tmp_path / "a.safetensors")
    monkeypatch.undo()
    with pytest.raises(TaskFileError, match=r"leaves out other tensors than its method does \('sites\.0\.0:weight"):
        MultiTask(model.backbone, num_features=2).load_task(path)


def test_scores_keep_their_precision_in_half() -> None:
    model = closed(built(torch.bfloat16))  # 0.099 is 0.0991 in bfloat16; 0.0999 is 0.1001
    with torch.no_grad():
        updates_of(model["a"])["0"].own["score"].fill_(0.0999)
    x = torch.randn(3, 3, 8, 8, dtype=torch.bfloat16)
    found = model(x, task="a")
    with torch.no_grad():
        updates_of(model["a"])["0"].own["delta"].zero_()
    assert torch.equal(found, model(x, task="a"))


def test_the_penalty_is_the_mean_score_once_it_begins() -> None:
    method, task = TAPS(strength=0.5, begin=0.2, norm=False), built()["a"]
    with torch.no_grad():
        updates_of(task)["0"].own["score"].fill_(-0.05)
    assert method.penalty(task, 0.1) is None
    penalty = method.penalty(task, 0.2)
    assert penalty is not None
    assert penalty.item() == pytest.approx(0.5 * (0.05 + 0.15) / 2)
    gradients: list[Tensor] = [*torch.autograd.grad(penalty, [p.own["score"] for p in updates_of(task).values()])]
    torch.testing.assert_close(torch.cat(gradients), torch.tensor([-0.25, 0.25], dtype=torch.float64))
    assert TAPS(strength=0).penalty(task, 1.0) is None


def test_a_strong_penalty_closes_layers_and_is_logged_and_in_the_result(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = MultiTask(net, TAPS(norm=False, strength=5.0, begin=0.5), num_features=4)
    model.add_task("a", 2)
    x = torch.randn(32, 3, 5, 5)
    data = TensorDataset(x, (x.mean((1, 2, 3)) > 0).long())
    result = train_task(model, "a", data, data, Settings(epochs=4, batch_size=8, select_by="loss"), folder=tmp_path)
    penalties = [point.get("penalty") for point in result.curve]
    assert penalties[:2] == [None, None]
    assert all(penalty is not None and penalty > 0 for penalty in penalties[2:])
    assert updates_of(model["a"])["0"].own["score"].item() < 0.15


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": -1.0}, "strength must be a finite number 0 or more, found -1.0"),
        ({"begin": 1}, "begin must be a finite number"),
    ],
)
def test_bad_settings_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TAPS(**settings)
