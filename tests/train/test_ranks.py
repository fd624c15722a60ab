"""`rank="auto"`: ranks decrease to a budget in training, and the result is an ordinary task."""

from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import default_collate

from taskfold import FTN, LoRA, MultiTask, Task, TLoRA, count
from taskfold.layers import components_of, numbers_of
from taskfold.methods import method_of
from taskfold.train import JointSettings, OptimizerSettings, train_together

from .ranks import BUDGET, CASES, RANKS, Parallel, planted, squared

SETTINGS = JointSettings(
    epochs=8,
    batch_size=32,
    select_by="loss",
    schedule="cosine",
    optimizers={"factors": OptimizerSettings(lr=2e-2)},
    patience=1,
)


def ranks_of(task: Task) -> list[int]:
    return list(task.method["settings"]["rank"].values())


def trained(method: LoRA, folder: Path | None = None) -> tuple[MultiTask, dict[str, float], list[dict[str, Any]]]:
    """Both tasks, in mixed batches; validation losses, and the curve."""
    problems = {name: planted(ranks, seed) for seed, (name, ranks) in enumerate(RANKS.items())}
    sets = {name: one for name, (_, one) in problems.items()}
    model = MultiTask(problems["a"][0], method)
    for name in RANKS:
        model.add_task(name)
    found = train_together(model, sets, SETTINGS, objective=squared, collate=default_collate, folder=folder, quiet=True)
    return model, {name: one["val_loss"] for name, one in found.tasks.items()}, found.curve


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[MultiTask, dict[str, float], list[dict[str, Any]], Path]:
    folder = tmp_path_factory.mktemp("ranks")
    return *trained(LoRA(rank="auto", budget=BUDGET, layers="linear"), folder), folder


def test_it_finds_the_ranks_of_each_layer_and_task(both: tuple[MultiTask, dict[str, float], Any, Path]) -> None:
    model, losses, *_ = both
    _, uniform, _ = trained(LoRA(rank=2, layers="linear"))
    for name, ranks in RANKS.items():
        assert ranks_of(model[name]) == [*ranks], name
        assert model[name].counts()["factors"] == BUDGET
        assert losses[name] < 0.5 * uniform[name]


def test_tasks_of_different_ranks_are_ordinary_ones(
    both: tuple[MultiTask, dict[str, float], Any, Path], tmp_path: Path
) -> None:
    model, x = both[0], torch.randn(6, 40)
    names = ["a", "b", "b", "a", "b", "a"]
    with torch.no_grad():
        alone = torch.stack([model(one[None], task=[name])[0] for one, name in zip(x, names, strict=True)])
        torch.testing.assert_close(torch.stack([*model(x, task=names)]), alone)
        torch.testing.assert_close(torch.stack([*model.bank()(x, task=names)]), alone)
        torch.testing.assert_close(model.fold("a")(x[:1]), alone[:1])
    for name in RANKS:
        method = method_of(model[name])
        assert isinstance(method, LoRA)
        assert not method.is_auto and method.budget is None
        assert {*model[name].sites} == {f"layers.{n}" for n, rank in enumerate(RANKS[name]) if rank}


def test_a_run_that_has_finished_gives_the_same_tasks(
    both: tuple[MultiTask, dict[str, float], list[dict[str, Any]], Path],
) -> None:
    model, losses, curve, folder = both
    again, found, points = trained(LoRA(rank="auto", budget=BUDGET, layers="linear"), folder)
    assert (found, points) == (losses, curve)
    for name in RANKS:
        assert again[name].method == model[name].method
        state = model[name].state_dict()
        assert all(torch.equal(tensor, state[key]) for key, tensor in again[name].state_dict().items())


def test_the_best_epoch_is_within_the_budget_and_patience_waits_for_it(
    both: tuple[MultiTask, dict[str, float], list[dict[str, Any]], Path],
) -> None:
    _, losses, curve, folder = both
    assert len(curve) > SETTINGS.epochs // 2
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["numbers"] for line in log if line["event"] == "ranks"] == [BUDGET, BUDGET]
    best = min(point["val_loss"] for point in curve[SETTINGS.epochs // 2 - 1 :])
    assert sum(losses.values()) / 2 == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize(("case", "policy"), [*zip(CASES, cycle(["importance", "gates", "gradients"]), strict=False)])
def test_pruning_changes_no_answer(case: str, policy: str, tmp_path: Path) -> None:
    """Random factors, some components closed; then an ordinary task, its file, a bank and a fold that say the same."""
    method, network, inputs = CASES[case]
    torch.manual_seed(0)
    model, x = MultiTask(network(), method.with_settings(rank_policy=policy)).eval(), inputs()
    task, budget = model.add_task("a"), numbers_of(method.budget, model.backbone)  # type: ignore[attr-defined]
    allocator = method_of(task).rank_allocator(task, model.backbone)
    assert allocator is not None
    for parameter in task.groups()["factors"]:
        torch.nn.init.normal_(parameter, std=0.3)
    model(x, task="a").square().sum().backward()
    assert task.counts()["factors"] > budget
    for step in range(10):
        allocator.step(step, 10)
    before, smallest = model(x, task="a"), min(allocator.costs)
    ranks = allocator.finish()
    model._runner.plans.clear()
    after = model(x, task="a")
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert budget - smallest < task.counts()["factors"] == allocator.numbers <= budget
    assert {layer.layer: layer.rank for layer in components_of(task)} == {k: r for k, r in ranks.items() if r}
    path = model.save_task("a", tmp_path / "a.safetensors")
    other = MultiTask(model.backbone).eval()
    loaded = other.load_task(path)
    assert loaded.method == task.method
    assert loaded.counts() == task.counts()
    assert torch.equal(other(x, task="a"), after)
    model.add_task("b", method=method.with_settings(rank=1, budget=None)).requires_grad_(False)
    mixed = model(x, task=["a", "b"] * 3)
    torch.testing.assert_close(torch.stack([*mixed])[::2], after[::2], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        rows = model.bank()(x, task=["a", "b"] * 3)
        torch.testing.assert_close(torch.stack([*rows])[::2], after[::2], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.fold("a")(x), after, rtol=1e-4, atol=1e-5)


def test_a_task_that_has_not_trained_is_kept_as_it_is(tmp_path: Path) -> None:
    model = MultiTask(Parallel(), LoRA(rank="auto", budget=BUDGET))
    model.add_task("a")
    path = model.save_task("a", tmp_path / "a.safetensors")
    loaded = MultiTask(model.backbone).load_task(path)
    assert loaded.method == model["a"].method
    assert loaded.counts()["factors"] == count(Parallel(), LoRA(rank="auto", budget=BUDGET)).per_task["factors"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rank": "auto"}, "needs a budget"),
        ({"budget": 100}, "budget=100 has no meaning for rank=8"),
        ({"rank_policy": "gates"}, "rank_policy='gates' has no meaning"),
        ({"rank": "auto", "budget": 1.5}, "found 1.5"),
        ({"rank": "auto", "budget": True}, "found True"),
        ({"rank": "auto", "budget": 9, "sharing": "shared"}, "sharing='shared' has factors in common"),
        ({"rank": "auto", "budget": 9, "rank_policy": "luck"}, "choose one of importance, gates, gradients"),
        ({"rank": "automatic"}, "whole number ≥ 1, found 'automatic'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], words: str) -> None:
    for method in (LoRA, FTN, TLoRA):
        if "rank" in settings or method is LoRA:
            with pytest.raises(ValueError, match=words):
                method(**settings)


def test_a_budget_must_have_room_for_a_component_and_not_for_whole_weights() -> None:
    for budget, words in ((47, "any of its layers has 48"), (100_000, "lower it")):
        with pytest.raises(ValueError, match=words):
            MultiTask(Parallel(), LoRA(rank="auto", budget=budget)).add_task("a")
    with pytest.raises(ValueError, match="ties to one another"):
        TLoRA(rank="auto", budget=99, product_norm=True)
