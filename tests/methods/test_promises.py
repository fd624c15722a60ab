"""The promises of the design, for every method on every architecture; bit for bit where they say so."""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask
from taskfold.factors import STATISTICS
from taskfold.kinds import kind_of
from taskfold.layers import groups_of_inventory, inventory_of, parts_of, statistics_of, stored_of
from taskfold.methods import build, names
from taskfold.model import _bank, _runner

from .cases import ATTENTION, CASES, EVERY, NETWORKS, Case

everywhere = pytest.mark.parametrize(("case", "network"), EVERY, ids=[f"{case}-{net}" for case, net in EVERY])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def built(case: Case, network: str, *tasks: str) -> MultiTask:
    model = MultiTask(NETWORKS[network](), case.method).eval()
    for n, name in enumerate(tasks):
        model.add_task(name, head=3 + n)
        stir(model, name)
    return model


def stir(model: MultiTask, name: str) -> None:
    """Move a task away from its start, running statistics and the inventory too."""
    with torch.no_grad():
        kinds, statistics = groups_of_inventory(model[name]), dict(model[name].named_buffers())
        for key, shared in inventory_of(model[name]).items():
            if kinds[key] == STATISTICS:
                statistics[key] = shared
            else:
                shared.add_(torch.randn_like(shared) * 0.05 * shared.std().nan_to_num(1).clamp(max=1, min=0.02))
        for parameter in model[name].parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        for key, buffer in statistics.items():
            if buffer.is_floating_point():
                buffer.mul_(1.1).add_(0.05 * ("var" in key))


def images(rows: int = 4) -> Tensor:
    return torch.randn(rows, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def train(model: MultiTask, name: str, steps: int = 3) -> None:
    model.train()
    optimizer = torch.optim.AdamW(model[name].parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(images(), task=name).square().mean().backward()
        optimizer.step()
    model.eval()


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def kept(task: tfold.Task) -> dict[str, Tensor]:
    """What a file keeps of a task's tensors: values, or bits."""
    stored = stored_of(task)
    return {key: stored[key].pack(tensor) if key in stored else tensor for key, tensor in snapshot(task).items()}


def same(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    return before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


@everywhere
def test_backbone_and_other_tasks_never_move(case: Case, network: str) -> None:
    """Promises 1 and 2."""
    model = built(case, network, "a")
    backbone, task = snapshot(model.backbone), snapshot(model["a"])
    with torch.no_grad():
        output = model(images(), task="a")
    model.add_task("b", head=4)
    b = snapshot(model["b"])
    # Running statistics that tasks have in common move with every one of them.
    common = {key: leaf.clone() for key, leaf in statistics_of(model["a"]).items()}
    train(model, "b")
    with torch.no_grad():
        for key, leaf in statistics_of(model["a"]).items():
            leaf.copy_(common[key])
    assert not same(b, snapshot(model["b"])), "training must do something"
    with torch.no_grad():
        assert torch.equal(model(images(), task="a"), output)
    assert same(backbone, snapshot(model.backbone))
    assert same(task, snapshot(model["a"]))
    model.rename_task("b", "c")
    model.remove_task("c")
    with torch.no_grad():
        assert torch.equal(model(images(), task="a"), output)


@everywhere
def test_every_number_of_a_task_learns(case: Case, network: str) -> None:
    """No silent no-op: after two steps each parameter of the task has moved."""
    model = built(case, network)
    model.add_task("a", head=3)
    if len(model.inventory):
        stir(model, "a")
    before = snapshot(model["a"])
    train(model, "a", steps=3)
    still = {key for key, value in model["a"].named_parameters() if torch.equal(value, before[key])}
    # A bias right before a BatchNorm or on keys cancels out; a copied embedding of unseen inputs does not move.
    assert not {key for key in still if "updates" in key or "head" in key}
    assert not still & stored_of(model["a"]).keys()  # scores
    if any("running_mean" in key for key in before):
        assert any(not torch.equal(snapshot(model["a"])[key], before[key]) for key in before if "running_mean" in key)


@everywhere
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_fold_is_the_task(case: Case, network: str) -> None:
    """Promise 3; what an intervention says has no plain layer is refused by name."""
    model = built(case, network, "a")
    each = [
        (path, part.intervention.folds(kind_of(model.backbone.get_submodule(path))))
        for (path, _), part in parts_of(model["a"])
    ]
    if not all(folds for _, folds in each):
        first = next(path for path, folds in each if not folds)
        with pytest.raises(ValueError, match=rf"^task 'a', layer '{re.escape(first)}': "):
            model.fold("a")
        assert not model.foldable("a")
        assert tfold.count(model.backbone, case.method).contracted is None
        return
    assert model.foldable("a")
    folded = model.fold("a").eval()
    assert type(folded.backbone) is type(model.backbone)
    added = folded.backbone.state_dict().keys() - model.backbone.state_dict().keys()
    assert {key.rpartition(".")[2] for key in added} <= ({"bias"} if case.new_biases else set())
    assert not model.backbone.state_dict().keys() - folded.backbone.state_dict().keys()
    assert sum(p.numel() for p in folded.backbone.parameters()) == tfold.count(model.backbone, case.method).contracted
    with torch.no_grad():
        torch.testing.assert_close(folded(images()), model(images(), task="a"), rtol=1e-4, atol=1e-4)


@everywhere
def test_a_mixed_batch_is_the_tasks_one_by_one(case: Case, network: str) -> None:
    """Promise 4."""
    model = built(case, network, "a", "b")
    x, rows = images(), ["b", "a", "a", "b"]
    with torch.no_grad():
        mixed = model(x, task=rows)
        for n, name in enumerate(rows):
            torch.testing.assert_close(mixed[n], model(x, task=name)[n], rtol=1e-4, atol=1e-4)
        alone = model(x, task=["a"] * 4)
        assert torch.equal(torch.stack(alone), model(x, task="a"))


Ways = Callable[[MultiTask, Tensor], dict[str, Tensor]]
ROWS = ["b", "a", "a", "b", "a", "b", "a"]


def _alone(model: MultiTask, x: Tensor) -> dict[str, Tensor]:
    return {name: model(x, task=name) for name in "ab"}


def _broadcast(model: MultiTask, x: Tensor) -> dict[str, Tensor]:
    return model(x, task=["a", "b"], broadcast=True)


def _alone_rows(model: MultiTask, x: Tensor) -> dict[str, Tensor]:
    return {name: model(x[[n for n, row in enumerate(ROWS) if row == name]], task=name) for name in "ab"}


def _mixed_rows(model: MultiTask, x: Tensor) -> dict[str, Tensor]:
    found = model(x, task=ROWS)
    return {name: torch.stack([y for y, row in zip(found, ROWS, strict=True) if row == name]) for name in "ab"}


DENSE = ("over-parameterised", "expandnet")
SMALL = [
    (case, network)
    for case, network in EVERY
    if network in ATTENTION
    or (network == "resnet18" and case.method.name not in DENSE)
    or (network == "efficientnet-lite0" and case.method == tfold.FTN(rank=3, init="xavier", alpha=1.0))
]
"""Without what takes most of a minute in double precision."""


@pytest.mark.parametrize(("case", "network"), SMALL, ids=[f"{case}-{net}" for case, net in SMALL])
def test_several_tasks_at_once_are_the_tasks_one_by_one(
    case: Case, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In value, in gradient and in running statistics; no dropout, which would draw other numbers."""
    monkeypatch.setattr(_runner, "worth_sharing", lambda *_: True)
    first = built(case, network, "a", "b").double()
    for module in first.backbone.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0

    def learned(run: Ways, training: bool) -> tuple[dict[str, Tensor], ...]:
        model = copy.deepcopy(first).train(training)
        found = run(model, images(7).double())
        sum(output.square().mean() for output in found.values()).backward()  # type: ignore[union-attr]
        gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
        return found, gradients, dict(model.named_buffers())

    for together, alone, training in (
        (_broadcast, _alone, False),
        (_broadcast, _alone, True),
        (_mixed_rows, _alone_rows, True),
    ):
        for wanted, made in zip(learned(alone, training), learned(together, training), strict=True):
            assert wanted.keys() == made.keys()
            for key, tensor in wanted.items():
                torch.testing.assert_close(made[key], tensor, rtol=1e-4, atol=1e-5)


@everywhere
def test_a_bank_is_the_tasks_one_by_one(case: Case, network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(case, network, "a", "b")
    bank = model.bank()
    x, rows = images(), ["b", "a", "a", "b"]
    with torch.no_grad():
        for n, found in enumerate(bank(x, task=rows)):
            torch.testing.assert_close(found, model(x, task=rows[n])[n], rtol=1e-4, atol=1e-4)
        for one_pass in (True, False):  # that parts; of all rows for each task
            for place in (_runner, _bank):
                monkeypatch.setattr(place, "worth_sharing", lambda *_, so=one_pass: so)
            for name, found in bank(x, task=["b", "a"], broadcast=True).items():
                torch.testing.assert_close(found, model(x, task=name), rtol=1e-4, atol=1e-4)


@everywhere
def test_a_file_is_the_task(case: Case, network: str, tmp_path: Path) -> None:
    """Promise 6: bit for bit in another model of the same backbone."""
    model = built(case, network, "a")
    model["a"].info.labels = ("x", "y", "z")
    model["a"].info.metrics = {"test_accuracy": 0.5}
    model.save_task("a", tmp_path / "a.safetensors")
    other = MultiTask(copy.deepcopy(model.backbone)).eval()
    if len(model.inventory):
        with pytest.raises(tfold.TaskFileError, match=r"does not hold; load its file first: model\.load_inventory"):
            other.load_task(tmp_path / "a.safetensors")
        other.load_inventory(model.save_inventory(tmp_path / "inventory.safetensors"))
    loaded = other.load_task(tmp_path / "a.safetensors")
    assert same(kept(loaded), kept(model["a"]))
    other.save_task("a", tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    assert (loaded.info, loaded.method) == (model["a"].info, model["a"].method)
    with torch.no_grad():
        assert torch.equal(other(images(), task="a"), model(images(), task="a"))


@everywhere
def test_two_threads_get_their_own_answers(case: Case, network: str) -> None:
    model = built(case, network, "a", "b")
    x = images(2)
    wrong: list[str] = []
    start = threading.Barrier(2)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        wanted = {name: model(x, task=name) for name in ("a", "b")}

    @torch.no_grad()
    def ask(name: str) -> None:
        torch.set_num_threads(1)
        start.wait()
        wrong.extend(name for _ in range(5) if not torch.equal(model(x, task=name), wanted[name]))

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.set_num_threads(threads_before)
    assert not wrong


@pytest.mark.parametrize("case", CASES, ids=str)
def test_counts_are_exact(case: Case) -> None:
    for network, wanted in case.counts.items():
        with torch.device("meta"):
            backbone = timm.create_model(network, num_classes=0)
        assert tfold.count(backbone, case.method).adapter_total == wanted
    for network, wanted in case.bits.items():
        with torch.device("meta"):
            backbone = timm.create_model(network, num_classes=0)
        assert tfold.count(backbone, case.method).per_task["bits"] == wanted


def test_every_method_is_in_the_table() -> None:
    ours = {name for name in names() if type(build(name)).__module__.startswith("taskfold.")}  # not those of tests
    assert {case.method.name for case in CASES} >= ours


@pytest.fixture
def encoder() -> MultiTask:
    return built(Case(tfold.FTNQueryValue(rank=4), (), {}), "timm-vit", "a", "b")


def test_gradient_checkpointing_keeps_the_task(encoder: MultiTask) -> None:
    from torch.utils.checkpoint import checkpoint

    x = images().requires_grad_()
    wanted = torch.autograd.grad(encoder(x, task="a").sum(), x)[0]
    blocks = encoder._runner.network().blocks
    for block in blocks:  # type: ignore[union-attr]
        inner = type(block).forward.__get__(block)
        block.forward = lambda h, inner=inner, **_: checkpoint(
            inner, h, use_reentrant=False, context_fn=tfold.checkpoint_context
        )
    first, second = encoder(x, task="a").sum(), encoder(x, task="b").sum()
    torch.testing.assert_close(torch.autograd.grad(first, x)[0], wanted)
    assert not torch.allclose(torch.autograd.grad(second, x)[0], wanted)
