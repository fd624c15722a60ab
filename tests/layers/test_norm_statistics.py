"""The running statistics of a task's BatchNorm: the result of each choice, and its behaviour in training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask
from taskfold.export import export
from taskfold.train import Settings, train_task

CHOICES: Mapping[str, set[str]] = {
    "backbone": set(),
    "adapted": {"running_mean", "running_var"},
    "own": {"running_mean", "running_var", "num_batches_tracked"},
}
"""What is left to a task of a BatchNorm's statistics."""
every_choice = pytest.mark.parametrize("statistics", CHOICES)


def network() -> nn.Sequential:
    """One that has been trained: its statistics are of some data."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, bias=False), nn.BatchNorm2d(8)),
        *(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )
    for _ in range(30):
        net.train()(torch.randn(16, 3, 8, 8) * 2 + 1)
    return net.eval()


def make(method: tfold.Method, *names: str, net: nn.Module | None = None) -> MultiTask:
    net = network() if net is None else net
    model = MultiTask(net, method, num_features=8)
    for name in names:
        model.add_task(name, 3)
    return model


def own(model: MultiTask, name: str) -> dict[str, Tensor]:
    """The running statistics that a task holds, by layer and name."""
    return {key: held for key, held in model[name].named_buffers() if key.rpartition(".")[2] in CHOICES["own"]}


METHODS = {
    "ftn": tfold.FTN(rank=2),
    "head-norm": tfold.HeadNorm(),
    "fine-tuning": tfold.FineTuning(),
    "lora": tfold.LoRA(rank=2, norm=True),
    "poly": tfold.Poly(rank=2, skills=2, norm=True),
    "piggyback": tfold.Piggyback(norm=True),
    "statistics alone": tfold.FTN(rank=2, norm=False),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@every_choice
@every_method
def test_a_task_has_what_the_choice_leaves_it(method: tfold.Method, statistics: str) -> None:
    chosen, plain = method.with_settings(statistics=statistics), method.with_settings(statistics="backbone")
    model = make(chosen, "a")
    assert {key.rpartition(".")[2] for key in own(model, "a")} == CHOICES[statistics]
    assert len(own(model, "a")) == 2 * len(CHOICES[statistics])
    assert model["a"].counts() == make(plain, "a")["a"].counts()  # statistics are no parameters
    assert tfold.count(network(), chosen, tasks=3).as_json() == tfold.count(network(), plain, tasks=3).as_json()
    x = torch.randn(5, 3, 8, 8)
    assert torch.equal(model.eval()(x, task="a"), make(plain, "a").eval()(x, task="a"))


@every_choice
@every_method
def test_training_is_evaluation_but_for_own_statistics(method: tfold.Method, statistics: str) -> None:
    model = make(method.with_settings(statistics=statistics), "a")
    x = torch.randn(5, 3, 8, 8) * 3
    before = {key: held.clone() for key, held in own(model, "a").items()}
    evaluated, trained = model.eval()(x, task="a"), model.train()(x, task="a")
    moved = [key for key, held in own(model, "a").items() if not torch.equal(held, before[key])]
    if statistics == "own":
        assert not torch.allclose(evaluated, trained)
        assert len(moved) == len(before)
    else:
        assert torch.equal(evaluated, trained)
        assert not moved
    assert all(
        module.num_batches_tracked == 30 for module in model.backbone.modules() if isinstance(module, nn.BatchNorm2d)
    )


def test_it_is_the_backbone_s_unless_tasks_train_one_trunk() -> None:
    assert not own(make(tfold.FTN(rank=2), "a"), "a")
    assert not own(make(tfold.FTN(rank=2, sharing="tensorpoly-i"), "a"), "a")
    assert not own(make(tfold.LoRA(rank=2, sharing="shared"), "a"), "a")  # without normalisation of its own
    assert len(own(make(tfold.FTN(rank=2, sharing="shared"), "a"), "a")) == 6
    assert len(own(make(tfold.LoRA(rank=2, norm=True, sharing="shared"), "a"), "a")) == 6
    assert not own(make(tfold.FTN(rank=2, sharing="shared", statistics="backbone"), "a"), "a")
    assert len(own(make(tfold.OverParameterised(), "a"), "a")) == 6
    common = make(tfold.HardSharing(), "a").inventory["hard-sharing.0/1/rest"].held()
    assert common.keys() > CHOICES["own"]


@every_choice
def test_without_running_statistics_there_is_nothing_to_choose(statistics: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False), nn.AdaptiveAvgPool2d(1))
    net.append(nn.Flatten())
    if statistics == "backbone":
        model = make(tfold.HeadNorm(), "a", net=net)
        x = torch.randn(5, 3, 8, 8)
        assert torch.equal(model.eval()(x, task="a"), model.train()(x, task="a"))  # of the batch, always
        return
    with pytest.raises(ValueError, match=rf"statistics='{statistics}', but Sequential has no running statistics"):
        make(tfold.HeadNorm(statistics=statistics), "a", net=net)  # type: ignore[arg-type]
    make(tfold.FTN(rank=2, stem=True, sharing="shared"), "a", net=net)  # nobody has chosen


@pytest.mark.parametrize("method", [tfold.FTN, tfold.HeadNorm, tfold.FineTuning, tfold.LoRA, tfold.BottleneckAdapter])
def test_other_words_are_refused_at_construction(method: Any) -> None:
    with pytest.raises(ValueError, match=r"statistics='batch' is not known; choose one of backbone, adapted, own"):
        method(statistics="batch")


@every_choice
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_in_half_precision_a_task_keeps_single(statistics: str, dtype: torch.dtype) -> None:
    model = make(tfold.HeadNorm(statistics=statistics), "a", net=network().to(dtype))  # type: ignore[arg-type]
    held = [*model["a"].groups()["norm"], *(t for t in own(model, "a").values() if t.is_floating_point())]
    assert {tensor.dtype for tensor in held} == {torch.float32}
    x = torch.randn(5, 3, 8, 8).to(dtype)
    evaluated, trained = model.eval()(x, task="a"), model.train()(x, task="a")
    assert evaluated.dtype == trained.dtype == dtype
    assert torch.equal(evaluated, trained) == (statistics != "own")
    trained.float().square().mean().backward()
    assert all(tensor.grad is not None for tensor in model["a"].groups()["norm"])


def stirred(method: tfold.Method) -> MultiTask:
    """Two tasks that have trained a little."""
    model = make(method, "a", "b")
    for seed, name in enumerate("ab"):
        dice = torch.Generator().manual_seed(seed)
        x = torch.randn(24, 3, 8, 8, generator=dice) * 2 - seed
        data = torch.utils.data.TensorDataset(x, torch.randint(3, (24,), generator=dice))
        train_task(model, name, data, data, Settings(epochs=1, batch_size=8, reestimate_norm=False))
    return model.eval()


@every_choice
def test_a_task_is_its_file_its_bank_its_fold_its_export_and_its_mixed_rows(statistics: str, tmp_path: Path) -> None:
    model = stirred(tfold.FTN(rank=2, statistics=statistics))  # type: ignore[arg-type]
    x = torch.randn(6, 3, 8, 8)
    wanted = {name: model(x, task=name) for name in "ab"}
    assert not torch.allclose(wanted["a"], wanted["b"])
    model.save_task("a", tmp_path / "a.safetensors")
    other = MultiTask(network(), num_features=8).eval()
    task = other.load_task(tmp_path / "a.safetensors")
    assert task.method["settings"]["statistics"] == statistics
    assert torch.equal(other(x, task="a"), wanted["a"])
    assert {key.rpartition(".")[2] for key in own(other, "a")} == CHOICES[statistics]
    rows = ["a", "b", "b", "a", "b", "a"]
    mixed = torch.stack([wanted[name][row] for row, name in enumerate(rows)])
    assert torch.allclose(torch.stack([*model(x, task=rows)]), mixed, atol=1e-6)
    bank = model.bank()
    assert torch.allclose(torch.stack([*bank(x, task=rows)]), mixed, atol=1e-6)
    assert torch.allclose(model.fold("b")(x), wanted["b"], atol=1e-6)
    assert torch.allclose(model.fold("b", fuse_batchnorm=True)(x), wanted["b"], atol=1e-5)
    together = model(x, task=["a", "b"], broadcast=True)
    for name, found in together.items():
        assert torch.allclose(found, wanted[name], atol=1e-6)
    for name, module, inputs in (("fold", model.fold("a"), [x]), ("bank", bank, [x, bank.index(rows)])):
        assert export(module, inputs, tmp_path / f"{name}.pt2") < 1e-5


class BeforeAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.BatchNorm2d(8), nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).permute(2, 0, 1)
        return self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(0)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("names", ["ab", "abab", "abbb"])
def test_a_gradient_of_tokens_first_is_each_rows(names: str, training: bool) -> None:
    torch.manual_seed(0)
    statistics: Any = "own" if training else "backbone"
    model = MultiTask(BeforeAttention(), tfold.HeadNorm(statistics=statistics)).train(training)
    parameters = [p for name in "ab" for p in model.add_task(name).groups()["norm"]]
    x = torch.randn(len(names), 8, 4, 4)
    loss = torch.stack([*model(x, task=[*names])]).square().sum()
    alone = [model(torch.stack([x[n] for n, name in enumerate(names) if name == one]), task=one) for one in "ab"]
    wanted = torch.autograd.grad(sum(y.square().sum() for y in alone), parameters)  # type: ignore[arg-type]
    for found, right in zip(torch.autograd.grad(loss, parameters), wanted, strict=True):
        torch.testing.assert_close(found, right, atol=1e-4, rtol=1e-4)
