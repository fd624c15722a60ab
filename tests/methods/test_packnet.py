"""PackNet: the owners of the common weight's entries, in training, files and removals."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from taskfold import MultiTask, PackNet, TaskFileError, count
from taskfold.kinds import kind_of
from taskfold.layers import SERVING, owned_in
from taskfold.methods import Allocator

METHOD = PackNet(prune=0.5)


def small() -> MultiTask:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4))
    return MultiTask(network, METHOD, num_features=4).eval()


def inputs() -> Tensor:
    return torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(1))


def steps(model: MultiTask, name: str, allocator: Allocator | None = None) -> None:
    """Steps with momentum and decay on everything that wants a gradient."""
    parameters = [p for p in [*model[name].parameters(), *model.inventory.parameters()] if p.requires_grad]
    optimiser = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.1)
    for step in range(4):
        optimiser.zero_grad()
        model(inputs(), task=name).square().sum().backward()
        optimiser.step()
        if allocator is not None:
            allocator.step(step, 4)


def grown(*names: str) -> MultiTask:
    model = small()
    for name in names:
        allocator = METHOD.rank_allocator(model.add_task(name, head=3), model.backbone)
        assert allocator is not None
        steps(model, name, allocator)
        allocator.finish()
    return model


def weights(model: MultiTask, name: str) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in model.materialise(name).items()}


def test_a_task_is_the_masked_common_weight_and_later_ones_move_none_of_it() -> None:
    model = grown("a")
    before, y = weights(model, "a"), model(inputs(), task="a")
    for name in ("b", "c"):
        allocator = METHOD.rank_allocator(model.add_task(name, head=3), model.backbone)
        assert allocator is not None
        steps(model, name, allocator)
        allocator.finish()
    torch.testing.assert_close(weights(model, "a"), before, rtol=0, atol=0)
    assert torch.equal(model(inputs(), task="a"), y)
    for number, name in enumerate("abc", 1):
        for key, share in owned_in(model[name]).items():
            weight, owner = share.held
            path, _, parameter = key.rpartition(".")
            mine = weight * ((owner >= 1) & (owner <= number))
            assert torch.equal(weights(model, name)[f"{path}.{parameter}"], mine)
    sizes = [int((owned_in(model["c"])["3.weight"].held[1] == n).sum()) for n in (1, 2, 3)]
    assert sizes == [24, 12, 6]


def test_pruning_keeps_the_largest_of_the_free_entries_of_each_layer() -> None:
    model = small()
    task = model.add_task("a", head=3)
    entries = {key: share.own["entries"].detach().clone() for key, share in owned_in(task).items()}
    METHOD.pack(task)
    with pytest.raises(ValueError, match="is packed already"):
        METHOD.pack(task)
    for key, share in owned_in(task).items():
        size = entries[key].abs()
        kept = size > size.flatten().kthvalue(size.numel() // 2).values
        assert torch.equal(share.held[0], torch.where(kept, entries[key], 0))


def test_gradients_are_those_of_the_written_formula() -> None:
    model = grown("a")
    model.add_task("b", head=3)
    share = owned_in(model["b"])["3.weight"]
    weight, owner = share.held
    with torch.no_grad():
        share.own["entries"].normal_()
    own = share.own["entries"].detach().clone().requires_grad_()
    made = share.tensors(kind_of(model.backbone[3]), {}, SERVING)["weight"]  # type: ignore[index]
    (made,) = torch.autograd.grad(made.sin().sum(), share.own["entries"])
    (wanted,) = torch.autograd.grad((weight * (owner == 1) + own * (owner == 0)).sin().sum(), own)
    torch.testing.assert_close(made, wanted)
    assert (made[owner == 1] == 0).all() and (made[owner == 0] != 0).all()


def test_a_file_holds_the_entries_and_says_what_they_stand_on(tmp_path: Path) -> None:
    model = grown("a", "b")
    paths = {name: model.save_task(name, tmp_path / name) for name in "ab"}
    other = MultiTask(model.backbone, num_features=4).eval()
    with pytest.raises(TaskFileError, match=r"is task 2 on its common weight and stands on the entries of 'a'"):
        other.load_task(paths["b"])
    assert not len(other.tasks) and not len(other.inventory)
    for path in paths.values():
        other.load_task(path)
    for name in "ab":
        assert torch.equal(other(inputs(), task=name), model(inputs(), task=name))
    with pytest.raises(TaskFileError, match="the next one of this model would be task 3"):
        other.load_task(paths["a"], name="again")
    with pytest.raises(ValueError, match="stands on entries that 'a' own"):
        model.save_task("b", tmp_path / "c", standalone=True)
    assert sum(t.numel() for t in owned_in(model["a"])["3.weight"].filed().values()) == 2 * 24


def test_tasks_go_in_reverse_order() -> None:
    model = grown("a", "b")
    y = model(inputs(), task="a")
    with pytest.raises(ValueError, match="task 'a' can't be removed: 'b' stands on its entries"):
        model.remove_task("a")
    model.remove_task("b")
    assert torch.equal(model(inputs(), task="a"), y)
    assert max(int(share.held[1].max()) for share in owned_in(model["a"]).values()) == 1
    model.remove_task("a")
    assert not any(leaves["owner"].any() for key in model.inventory for leaves in [model.inventory[key]])


def test_tasks_train_one_after_the_other() -> None:
    model = small()
    for name in "ab":
        model.add_task(name, head=3)
    each = {name: METHOD.rank_allocator(model[name], model.backbone) for name in "ab"}
    with pytest.raises(ValueError, match="tasks 'a', 'b' share out the entries of one weight"):
        each["a"].check(each)  # type: ignore[union-attr, arg-type]
    before = model(inputs(), task="b")
    METHOD.pack(model["a"])
    assert torch.equal(model(inputs(), task="b"), before)
    METHOD.pack(model["b"])  # nothing had written it: it begins after 'a'
    assert [share.number for share in owned_in(model["b"]).values()] == [2, 2]
    twin = small()
    for name in "ab":
        METHOD.pack(twin.add_task(name, head=3))
    for name in "ab":
        torch.testing.assert_close(model.materialise(name), twin.materialise(name))


def test_a_task_with_values_from_before_another_took_entries_is_refused() -> None:
    model = small()
    for name in "ab":
        model.add_task(name, head=3)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        model["b"].get_parameter(next(name for name, _ in model["b"].named_parameters() if "entries" in name)).add_(1)
    for one in (model, twin):  # a copy may have been trained
        METHOD.pack(one["a"])
        with pytest.raises(ValueError, match="task 'b' has values from before another task took entries"):
            METHOD.pack(one["b"])


def test_the_source_may_keep_a_share_of_the_backbone() -> None:
    model = small()
    task = model.add_task("a", head=3, source=0.5)
    own = model.backbone.get_parameter("3.weight").detach()
    large = own.abs() > own.abs().flatten().kthvalue(24).values
    assert torch.equal(model.materialise("a")["3.weight"], own * large)
    assert owned_in(task)["3.weight"].number == 2


def test_each_weight_has_bits_for_its_owner() -> None:
    model = small()
    for tasks, bits in ((1, 2), (2, 2), (5, 3), (6, 3), (7, 4)):
        found = count(model.backbone, METHOD, tasks=tasks)
        assert (found.shared, found.shared_bits) == (24 + 48, bits * 72)
        assert found.per_task == {"factors": 0, "norm": 0, "head": 0}


@pytest.mark.parametrize(("settings", "words"), [({"prune": 1.0}, "prune must be"), ({"pruned_at": 0}, "above 0")])
def test_settings_out_of_range_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PackNet(**settings)  # type: ignore[arg-type]
