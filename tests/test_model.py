"""MultiTask refuses what can't work, by name, at the first call."""

from __future__ import annotations

import copy
import itertools
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import taskfold as tfold
from taskfold import MultiTask
from taskfold.methods import build


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.fixture
def model() -> MultiTask:
    made = MultiTask(network(), tfold.FTN(rank=2), num_features=8).eval()
    made.add_task("flowers", head=3)
    made.add_task("cars", head=5, rank=4)
    return made


x = torch.randn(4, 3, 9, 9)


@pytest.mark.parametrize("name", ["", " a", "a.b", "a/b", "a\\b", "a\nb", "x" * 101])
def test_names_not_allowed(model: MultiTask, name: str) -> None:
    with pytest.raises(ValueError, match="is not allowed: 1 to 100 printable characters"):
        model.add_task(name, head=2)


@pytest.mark.parametrize("name", ["train", "weight", "type", "日本", "a b", "x" * 100, "__init__"])
def test_names_allowed(model: MultiTask, name: str) -> None:
    model.add_task(name, head=2)
    assert model(x, task=name).shape == (4, 2)
    assert any(key.startswith(f"tasks.{name}.") for key in model.state_dict())


def test_a_misspelt_task_is_an_error(model: MultiTask) -> None:
    for ask in (lambda: model(x, task="flwers"), lambda: model(x, task=["cars", "flwers", "cars", "cars"])):
        with pytest.raises(
            ValueError, match="task 'flwers' is not known; tasks: flowers, cars; did you mean 'flowers'"
        ):
            ask()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": 0}, "head must be ≥ 1 outputs, found 0"),
        ({"head": 2.5}, "head must be a number of outputs"),
        ({"head": 2, "rnk": 3}, "method 'ftn' has no setting 'rnk'; settings: rank"),
        ({"head": 2, "rank": 0}, "rank must be a whole number ≥ 1, found 0"),
        ({"head": 2, "targets": "layer9.*"}, "selects none of the 1 convolutions"),
        ({"head": 2, "labels": ["a"]}, "has 2 outputs and 1 labels"),
        ({"head": 2, "rank": {"7": 1}}, "rank has no entry for layer '2'"),
        ({"head": 2, "rank": {"*": 0}}, "is 0 for every layer"),
        (
            {"head": 2, "sharing": "routed"},
            "sharing='routed' is not known; choose one of 'core', 'diagonal', 'mhr', 'poly'",
        ),
        ({"head": 2, "method": tfold.FTNQueryValue()}, "Sequential has no attention to adapt"),
    ],
)
def test_bad_tasks_are_refused_whole(model: MultiTask, settings: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        model.add_task("new", **settings)
    assert list(model.tasks) == ["flowers", "cars"]


def of_the_same_numbers(linear: nn.Linear) -> nn.Module:
    twin = nn.Linear(linear.in_features, linear.out_features)
    twin.weight = nn.Parameter(linear.weight.data)
    return twin


HEADS = {
    "head": (lambda model: model["flowers"].head, "task 'new' holds tensors that task 'flowers' holds too"),
    "inside": (lambda model: nn.Sequential(nn.ReLU(), model["cars"].head), "task 'cars' holds too"),
    "bias": (lambda model: nn.ParameterList([model["cars"].head.bias]), "task 'cars' holds too"),
    "numbers": (lambda model: of_the_same_numbers(model["flowers"].head), "task 'flowers' holds too"),
    "layer": (lambda model: model.backbone[0], "holds tensors that the backbone holds too"),
    "buffers": (lambda model: nn.Sequential(model.backbone[1]), "the backbone holds too"),
    "lazy": (
        lambda model: nn.LazyLinear(3),
        r"layer '' \(LazyLinear\) has no weights yet; run a batch through the head",
    ),
    "lazy inside": (lambda model: nn.Sequential(nn.LazyBatchNorm1d(affine=False)), r"layer '0' \(LazyBatchNorm1d\)"),
}


@pytest.mark.parametrize(("build", "message"), HEADS.values(), ids=HEADS)
def test_a_head_is_the_tasks_alone_and_complete(model: MultiTask, build: Callable, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        model.add_task("new", head=build(model))
    assert list(model.tasks) == ["flowers", "cars"]
    model.add_task("new", head=copy.deepcopy(model["cars"].head))


def test_a_lazy_backbone_is_refused() -> None:
    for lazy in (nn.LazyConv2d(3, 2), nn.LazyBatchNorm2d(affine=False)):
        with pytest.raises(
            TypeError, match=r"layer '1' \(Lazy.*\) has no weights yet; run a batch through the backbone"
        ):
            MultiTask(nn.Sequential(nn.Identity(), lazy))


def test_other_errors(model: MultiTask) -> None:
    with pytest.raises(ValueError, match="task 'cars' exists already"):
        model.add_task("cars")
    with pytest.raises(ValueError, match="empty list"):
        model(x, task=[])
    with pytest.raises(ValueError, match="lists 2 names for a batch of 4 rows"):
        model(x, task=["cars", "cars"])
    with pytest.raises(ValueError, match="does not say how many features"):
        MultiTask(network(), tfold.HeadOnly()).add_task("a", head=3)
    with pytest.raises(ValueError, match="has no method"):
        MultiTask(network()).add_task("a")
    with pytest.raises(TypeError, match=r"backbone must be an nn\.Module"):
        MultiTask("resnet50")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="method must be a Method"):
        MultiTask(network(), "ftn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"method 'ftm' is not known.*did you mean 'ftn'"):
        build("ftm")
    with pytest.raises(ValueError, match="layers='conv' is not known"):
        tfold.LoRA(layers="conv")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tasks must be ≥ 1"):
        tfold.count(network(), tfold.FTN(), tasks=0)


def test_parametrised_and_patched_layers_are_refused() -> None:
    normed = nn.Sequential(nn.Conv2d(3, 3, 1), nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1)))
    with pytest.raises(TypeError, match="has no plain parameter 'weight'"):
        MultiTask(normed, tfold.FTN(norm=False)).add_task("a")
    patched = network()
    patched[2].forward = lambda h: h  # type: ignore[union-attr,method-assign]
    model = MultiTask(patched, tfold.FTN(norm=False), num_features=8)
    with pytest.raises(TypeError, match="has a forward patched onto the instance"):
        model.add_task("a", head=2)
    assert len(model.tasks) == 0
    model.add_task("a", head=2, method=tfold.HeadOnly())
    assert model(x, task="a").shape[1] == 2


class Unused(nn.Module):
    """Has a layer that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.used, self.idle = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return self.used(self.stem(h)).mean((2, 3))


def test_a_layer_that_is_never_called_is_reported() -> None:
    model = MultiTask(Unused(), tfold.FTN(norm=False), num_features=4)
    model.add_task("a", head=2)
    with pytest.warns(UserWarning, match="adapts 1 layers that this forward pass never called.*idle"):
        model(x, task="a")
    model.add_task("b", head=2, targets=("*", "!idle"))
    model(x, task="b")


def test_other_backbones_stay_as_they_are_to_their_owner() -> None:
    mine = timm.create_model("resnet18", num_classes=0).train()
    keys, modules, hooks = (
        list(mine.state_dict()),
        list(mine.modules()),
        [len(m.__dict__) for m in mine.modules()],
    )
    model = MultiTask(mine, tfold.FTN(rank=1))
    model.add_task("a", head=2)
    model.eval()(torch.randn(2, 3, 32, 32), task="a")
    assert (list(mine.state_dict()), list(mine.modules())) == (keys, modules)
    assert [len(m.__dict__) for m in mine.modules()] == hooks
    assert mine.training, "its mode is its owner's"


def test_moving_copying_and_pickling(model: MultiTask) -> None:
    with torch.no_grad():
        wanted = model(x, task="cars")
        assert torch.equal(copy.deepcopy(model)(x, task="cars"), wanted)
        assert torch.equal(pickle.loads(pickle.dumps(model))(x, task="cars"), wanted)
        model.double()
        torch.testing.assert_close(model(x.double(), task="cars").float(), wanted)
        model.float()
        other = MultiTask(network(), tfold.FTN(rank=2), num_features=8).eval()
        other.add_task("flowers", head=3)
        other.add_task("cars", head=5, rank=4)
        other.load_state_dict(model.state_dict())
        torch.testing.assert_close(other(x, task="cars"), wanted)


def test_half_precision_backbone_keeps_full_precision_factors() -> None:
    model = MultiTask(network().bfloat16(), tfold.FTN(rank=2), num_features=8).eval()
    task = model.add_task("a", head=nn.Linear(8, 2).bfloat16())
    assert {p.dtype for p in task.groups()["factors"]} == {torch.float32}
    y = model(x.bfloat16(), task="a")
    y.sum().backward()
    assert y.dtype == torch.bfloat16
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in task.groups()["factors"])


def test_dropout_follows_the_mode_and_norm_does_not(model: MultiTask) -> None:
    model.train()
    assert not torch.equal(model(x, task="cars"), model(x, task="cars"))
    model.eval()
    assert torch.equal(model(x, task="cars"), model(x, task="cars"))


def test_no_head_gives_the_backbones_own_output(model: MultiTask) -> None:
    model.add_task("bare")
    model.add_task("barer")
    assert model(x, task="bare").shape == (4, 8)
    assert model(x, task=["bare", "barer", "bare", "bare"]).shape == (4, 8)
    assert [len(y) for y in model(x, task=["bare", "cars", "cars", "flowers"])] == [8, 5, 5, 3]


def test_rank_per_task_and_layer(model: MultiTask) -> None:
    per_rank = 8 + 8 + 9
    assert [model[name].counts()["factors"] for name in ("flowers", "cars")] == [2 * per_rank, 4 * per_rank]
    net = timm.create_model("resnet18", num_classes=0)
    deep = MultiTask(net, tfold.FTN(rank={"layer4.*": 2, "*": 0})).add_task("a")
    assert {path.split(".")[0] for path in deep.sites if path.endswith("conv1")} == {"layer4"}


def test_a_view_of_one_task_is_the_task(model: MultiTask) -> None:
    view = model.for_task("cars")
    assert torch.equal(view(x), model(x, task="cars"))
    assert {id(p) for p in view.parameters()} == {id(p) for p in model["cars"].parameters()}
    view.train()
    assert view.training
    assert not model.training


def test_methods_mix_on_one_backbone(model: MultiTask) -> None:
    model.add_task("tuned", head=4, method=tfold.FineTuning())
    model.add_task("plain", head=2, method=tfold.HeadOnly())
    mixed = model(x, task=["tuned", "plain", "cars", "flowers"])
    for n, name in enumerate(["tuned", "plain", "cars", "flowers"]):
        torch.testing.assert_close(mixed[n], model(x, task=name)[n], rtol=1e-4, atol=1e-5)
    assert torch.equal(model(x, task="plain"), model["plain"].head(model.backbone.eval()(x)))  # type: ignore[misc]


def test_outputs_of_a_mixed_batch_come_by_row_and_by_task(model: MultiTask) -> None:
    names = ["cars", "flowers", "cars", "cars"]
    for run in (model, model.bank()):
        outputs = run(x, task=names)
        assert isinstance(outputs, list)
        assert outputs.of("cars").shape == (3, 5)
        assert torch.equal(outputs.of("cars"), torch.stack([outputs[0], outputs[2], outputs[3]]))
        torch.testing.assert_close(outputs.of("flowers")[0], model(x, task="flowers")[1])
        with pytest.raises(ValueError, match="task 'trains' has no row in this batch, which is of"):
            outputs.of("trains")


def test_what_is_neither_a_layer_s_nor_the_head_s_is_refused(model: MultiTask) -> None:
    """It would count and train as a head that it is not."""
    model["cars"].extra = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"task 'cars' holds parameters .* not to its head: extra.weight"):
        model["cars"].groups()


def test_rates_come_with_the_groups(model: MultiTask) -> None:
    assert model["cars"].rates() == {"factors": 1e-2, "norm": 5e-3, "head": 5e-3}
    routed = MultiTask(network(), tfold.TensorPolyI(rank=2, tensor_rank=2, layers="convolution"), num_features=8)
    assert routed.add_task("a", head=2).rates() == {"routing": 0.1, "head": 5e-3}


def test_the_structure_is_copied_once_for_a_form_of_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one row alone can't be run, and where an argument is no tensor."""
    from taskfold.model import _looking, _standing

    class Pairs(nn.Module):
        """Looks at rows two by two."""

        num_features = 4

        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 4)

        def forward(self, x: torch.Tensor, options: object = None) -> torch.Tensor:
            if len(x) < 2:
                raise ValueError("pairs of rows only")
            return self.inner(x)

    model = MultiTask(Pairs(), tfold.LoRA(rank=1, init="normal")).eval()
    for name in "ab":
        model.add_task(name, head=2)
    copies: list[object] = []
    make = _looking.skeleton
    for room in (_looking, _standing):
        monkeypatch.setattr(room, "skeleton", lambda *args, **named: copies.append(args) or make(*args, **named))
    rows = torch.randn(4, 6)
    for options in (None, object()):
        for _ in range(3):
            for n, output in enumerate(model(rows, options, task=list("abab"))):
                torch.testing.assert_close(output, model(rows, options, task="abab"[n])[n])
    assert len(copies) <= 1


def test_adding_a_task_costs_the_same_however_many_there_are() -> None:
    model = MultiTask(network(), tfold.FTN(), num_features=8)
    calls: list[int] = []
    for n in range(24):
        counted = itertools.count()
        sys.setprofile(lambda *_, counted=counted: next(counted))
        try:
            model.add_task(f"task{n}", head=3)
        finally:
            sys.setprofile(None)
        calls.append(next(counted))
    assert min(calls[-5:]) <= min(calls[3:8]) + 10  # a garbage collection adds calls now and then


def test_what_comes_in_inference_mode_can_be_trained(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6))
    model = tfold.MultiTask(net, tfold.LoRA(rank=2, layers="linear", norm=True), num_features=6)
    with torch.inference_mode():
        model.add_task("a", head=2)
        model.load_task(model.save_task("a", tmp_path / "a.safetensors"), name="b")
    for name in "ab":
        model(torch.randn(4, 6), task=name).sum().backward()
        assert all(parameter.grad is not None for parameter in model[name].parameters())
