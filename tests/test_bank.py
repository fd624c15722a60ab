"""Many tasks as rows of one table. `tests/methods` compares banks with their tasks, for all methods."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import taskfold as tfold

NAMES = "abcdef"


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(6, 6, 3, groups=6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(6))


def built(count: int = 3, method: tfold.Method | None = None, head: bool = True) -> tfold.MultiTask:
    """Tasks whose ranks and heads differ, stirred."""
    model = tfold.MultiTask(network(), method or tfold.FTN(rank=1), num_features=6).eval()
    for n in range(count):
        task = model.add_task(f"t{n}", head=2 + n % 3 if head else None, **({} if method else {"rank": 1 + n % 3}))
        for tensor in [*task.parameters(), *(b for b in task.buffers() if b.is_floating_point())]:
            tensor.data.add_(0.2 * torch.rand_like(tensor))
    return model


def agree(bank: tfold.Bank, model: tfold.MultiTask, names: list[str]) -> None:
    x = torch.randn(len(names), 3, 8, 8)
    with torch.no_grad():
        for n, found in enumerate(bank(x, task=names)):
            torch.testing.assert_close(found, model(x, task=names[n])[n], rtol=1e-4, atol=1e-5)


def test_ranks_and_heads_of_different_sizes() -> None:
    model = built()
    agree(model.bank(), model, ["t2", "t0", "t1", "t2"])
    agree(model.bank(["t1"]), model, ["t1"])


def test_a_later_task_may_do_more_than_the_first() -> None:
    """Other layers and a larger rank: the table is laid out anew, and nobody's answer moves."""
    model = built(1, tfold.HeadNorm())
    bank = model.bank()
    model.add_task("more", head=4, method=tfold.FTN(rank=3, init="normal", stem=True))
    bank.add(model["more"])
    model.add_task("bare", head=1, method=tfold.HeadOnly())
    bank.add(model["bare"])
    agree(bank, model, ["t0", "more", "bare", "t0"])


def test_tasks_of_several_methods_stand_in_one_table() -> None:
    """Whole weights beside low-rank updates: a row holds both, and what a task does not use leaves the layer alone."""
    model = built(2)
    bank = model.bank()
    for name, method in (("tuned", tfold.FineTuning()), ("norm", tfold.HeadNorm())):
        task = model.add_task(name, head=3, method=method)
        for parameter in task.parameters():
            parameter.data.add_(0.2 * torch.rand_like(parameter))
        bank.add(task)
    agree(bank, model, ["t0", "tuned", "t1", "norm", "tuned"])


def test_places_are_used_again() -> None:
    model = built(6)
    bank = model.bank()
    before = bank.nbytes()
    for name in ("t1", "t4", "t0"):
        bank.remove(name)
    agree(bank, model, ["t2", "t5", "t3"])
    for name in ("t0", "t1", "t4"):
        bank.add(model[name], f"{name}-again")
        model.rename_task(name, f"{name}-again")
    agree(bank, model, ["t0-again", "t5", "t4-again", "t1-again", "t2"])
    assert bank.nbytes() == before
    assert len(bank) == 6
    assert "t0" not in bank


def test_one_name_is_no_list_of_names() -> None:
    model = built()
    bank = model.bank(name for name in ("t0", "t1"))
    for ask in (model.bank, bank.index):
        with pytest.raises(TypeError, match=r"names must be a list of task names, such as \['t0'\], found 't0'"):
            ask("t0")
    with pytest.raises(TypeError, match="names must be a list of names, found 3"):
        bank.index(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"labels must be a list of class names, one per output, found 'ab'"):
        model.add_task("new", head=2, labels="ab")
    assert list(bank) == ["t0", "t1"]


def test_a_bank_is_a_copy() -> None:
    model = built()
    bank, x = model.bank(), torch.randn(2, 3, 8, 8)
    before = bank(x, task=["t0", "t1"])
    for parameter in model["t0"].parameters():
        parameter.data.zero_()
    model.remove_task("t1")
    assert all(map(torch.equal, bank(x, task=["t0", "t1"]), before))


def test_without_heads_the_backbones_output() -> None:
    model = built(head=False)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(model.bank()(x, task=["t2", "t0"]), model(x, task=["t2", "t0"]))


@pytest.mark.parametrize("head", [True, False], ids=["heads", "no heads"])
@pytest.mark.parametrize("late", [True, False], ids=["later layers", "from the start"])
@pytest.mark.parametrize("rows", [1, 3])
def test_every_row_for_several_tasks(rows: int, late: bool, head: bool) -> None:
    model = built(4, tfold.FTN(rank=2, stem=not late, frozen_stages=2 * late), head)
    bank, x, passes = model.bank(), torch.randn(rows, 3, 8, 8), list[int]()
    bank.backbone[0].register_forward_hook(lambda *_: passes.append(1))  # type: ignore[operator,union-attr]
    with torch.no_grad():
        found = bank(x, task=["t3", "t0", "t1"], broadcast=True)
        assert list(found) == ["t3", "t0", "t1"]
        assert len(passes) == 1
        for name, output in found.items():
            torch.testing.assert_close(output, model(x, task=name), rtol=1e-4, atol=1e-5)


def test_what_no_task_in_the_bank_changes_is_computed_once() -> None:
    model = built(4, tfold.LoRA(rank=2, layers="convolution", frozen_stages=2), head=False)
    bank, x = model.bank(), torch.randn(2, 3, 8, 8)

    def work(names: list[str]) -> int:
        bank(x, task=names, broadcast=True)  # the first pass looks at the plain network
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            bank(x, task=names, broadcast=True)
        return counter.get_total_flops()

    first = 2 * 2 * 6 * 6 * 9 * (3 * 4 + 4 * 6)  # two images through two convolutions of 3 × 3 kernels to 6 × 6
    assert work(["t0", "t1", "t2"]) - first == 3 * (work(["t0"]) - first) > 0


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda bank, x: bank(x, task=[]), ValueError, "task is an empty list"),
        (lambda bank, x: bank(x, task=[], broadcast=True), ValueError, "at least one name"),
        (lambda bank, x: bank(x, task=["t0", "t0"], broadcast=True), ValueError, "none twice"),
        (lambda bank, x: bank(x, task="t0"), TypeError, "list of names, one per row, found 't0'"),
        (lambda bank, x: bank(x, task="t0", broadcast=True), TypeError, "must be a list of names, found 't0'"),
        (lambda bank, x: bank(x, task=["t0", "t1"]), ValueError, "lists 2 names for a batch of 4 rows"),
        (lambda bank, x: bank.generate(x, task=["t0"] * 4), TypeError, "Sequential has no generate()"),
    ],
)
def test_lists_that_do_not_fit_are_refused(call: Callable[..., object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=re.escape(said)):
        call(built().bank(), torch.randn(4, 3, 8, 8))


def test_bad_input_is_reported_and_forgotten() -> None:
    bank, x = built(3, tfold.FTN(rank=1, stem=True)).bank(), torch.randn(2, 5, 8, 8)
    with pytest.raises(RuntimeError, match="to have 3 channels, but got 5 channels"):
        bank(x, task=["t0", "t1"], broadcast=True)
    passes: list[int] = []
    bank.backbone[0].register_forward_hook(lambda *_: passes.append(1))  # type: ignore[operator,union-attr]
    bank(x[:, :3], task=["t0", "t1"], broadcast=True)
    assert len(passes) == 1


class Table(nn.Module):
    """A layer that sees positions, as many as there are rows, and none of the batch."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.table, self.out = nn.Linear(2, 6), nn.Linear(6, 4)
        self.register_buffer("places", torch.randn(rows, 8, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x * self.table(self.places).sum((0, 1)))


@pytest.mark.parametrize("places", [1, 4, 8])
def test_tasks_whose_layers_see_no_rows_run_one_by_one(places: int) -> None:
    model = tfold.MultiTask(Table(places), tfold.LoRA(rank=1, init="normal")).eval()
    for name in "ab":
        model.add_task(name)
    x, bank = torch.randn(4, 6), model.bank()
    for run in (model, bank):
        with pytest.warns(UserWarning, match="task by task.*: layer 'table' is given a tensor that serves all rows"):
            mixed = run(x, task=list("abba"))
        assert (mixed[0] - mixed[1]).abs().max() > 0.01
        for n, row in enumerate(mixed):
            torch.testing.assert_close(row, model(x, task="abba"[n])[n])
    for _ in range(2):
        for name, found in bank(x, task=["b", "a"], broadcast=True).items():
            torch.testing.assert_close(found, model(x, task=name))
    alone = tfold.MultiTask(Table(places), tfold.LoRA(rank=1, targets="out", init="normal")).eval()
    for name in "ab":
        alone.add_task(name)
    for n, row in enumerate(alone.bank()(x, task=list("abba"))):
        torch.testing.assert_close(row, alone(x, task="abba"[n])[n])


@pytest.mark.parametrize(
    ("index", "error", "said"),
    [
        (torch.arange(4) % 3, ValueError, "index holds 0, which this bank has not given"),
        (torch.zeros(4), TypeError, r"tensor \[B\] of torch.int64 .* found a tensor \(4,\) of torch.float32"),
        (torch.zeros(4, dtype=torch.bool), TypeError, r"found a tensor \(4,\) of torch.bool"),
        ([0, 1, 2, 0], TypeError, r"index must be a tensor \[B\] of torch.int64"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(index: object, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        built().bank()(torch.randn(4, 3, 8, 8), index=index)


def test_moves_as_a_module_does() -> None:
    model = built()
    bank = model.bank()
    single = bank(x := torch.randn(2, 3, 8, 8), task=["t0", "t2"])
    double = bank.double()(x.double(), task=["t0", "t2"])
    assert double[0].dtype == torch.float64
    torch.testing.assert_close([one.float() for one in double], single)
    copied = copy.deepcopy(bank)(x.double(), task=["t0", "t2"])
    assert all(map(torch.equal, copied, double))


def test_the_backbone_keeps_its_mode() -> None:
    model = built()
    model.backbone.train()
    bank, x = model.bank().eval(), torch.randn(2, 3, 8, 8)
    assert all(module.training for module in model.backbone.modules())
    with torch.no_grad():
        torch.testing.assert_close(bank(x, task=["t0", "t0"]), list(model(x, task="t0")))


def test_windows_of_a_row_have_its_task() -> None:
    class Windows(nn.Module):
        num_features = 4

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.norm = nn.Linear(6, 4), nn.LayerNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.inner(x.reshape(-1, *x.shape[2:]))).reshape(len(x), -1, 4).mean(1)

    torch.manual_seed(0)
    model = tfold.MultiTask(Windows(), tfold.LoRA(rank=2, norm=True)).eval()
    for name in ("a", "b"):
        for parameter in model.add_task(name, head=2).parameters():
            nn.init.normal_(parameter)
    bank, x = model.bank(), torch.randn(3, 5, 6)
    with torch.no_grad():
        for n, found in enumerate(bank(x, task=["b", "a", "b"])):
            torch.testing.assert_close(found, model(x, task="bab"[n])[n])


def test_tasks_of_another_backbone_are_refused() -> None:
    bank, stem = built().bank(), nn.Conv2d(3, 4, 3)
    wider = nn.Sequential(stem, nn.Conv2d(4, 8, 3))
    deeper = nn.Sequential(stem, nn.Sequential(nn.Conv2d(4, 6, 3)))
    for other, text in ((wider, "layer '1' has other sizes"), (deeper, "no layer '1.0'")):
        model = tfold.MultiTask(other, tfold.FTN(rank=1, norm=False), num_features=6)
        with pytest.raises(ValueError, match=text):
            bank.add(model.add_task("x", head=2))
    assert len(bank) == 3


def test_a_task_knows_its_backbone_by_its_numbers() -> None:
    model, other = built(), built()
    with torch.no_grad():
        other.backbone[4].weight[2, 0, 0, 0] += 1e-3
    bank = model.bank()
    with pytest.raises(ValueError, match=r"task 'new' was made for another backbone: '4\.weight' holds other numbers"):
        bank.add(other["t0"], "new")
    assert len(bank) == 3
    twin, loaded = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    for n, same in enumerate((built(), twin, loaded)):  # equal numbers, wherever they lie
        bank.add(same["t0"], f"same-{n}")
        same.rename_task("t0", f"same-{n}")
        agree(bank, same, [f"same-{n}", "t1"])
    assert twin["t1"].origin.backbone() is twin.backbone
    assert loaded["t1"].origin.backbone() is loaded.backbone
    assert copy.deepcopy(model["t1"]).origin.backbone() is model.backbone
    copy.deepcopy(model).bfloat16().bank().add(model["t1"], "rounded")
    with pytest.raises(ValueError, match="its own is not known or gone; save it by save_task"):
        bank.add(pickle.loads(pickle.dumps(model["t2"])), "lone")


def test_standardised_layers_run_task_by_task() -> None:
    """Their forward makes another weight as it runs: no weight of each row can stand for it."""
    from timm.layers.std_conv import ScaledStdConv2d

    torch.manual_seed(0)
    method = tfold.FTN(rank=1, norm=False, init="normal")
    model = tfold.MultiTask(nn.Sequential(nn.Conv2d(3, 4, 3), ScaledStdConv2d(4, 6, 1)), method).eval()
    for n in range(3):
        model.add_task(f"t{n}")
    agree(model.bank(), model, ["t2", "t0", "t0", "t1"])
