"""Layers expanded in training: each equals the several layers of its paper, in value and gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

import taskfold as tfold
from taskfold import MultiTask
from taskfold.factors import SVD, Expansion, LinearExpansion
from taskfold.interventions._branches import EPSILON
from taskfold.layers import Rest, Update, updates_of
from taskfold.routing import Diagonal, Private, Shared, Sharing

from ..recipes import OfRecipes
from .cases import CASES, Case
from .test_laws import dense_of

EXPANSIONS: dict[str, tuple[Expansion, Sharing]] = {
    "svd": (SVD(), Diagonal()),
    "svd-rank-2": (SVD(rank=2), Diagonal(2)),
    "svd-private": (SVD(), Private()),
    "svd-shared": (SVD(), Shared()),
    "three": (LinearExpansion(rate=1.5), Shared()),
}
GEOMETRY = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "stride": 2},
    {"kernel_size": (3, 5), "stride": (2, 1), "padding": (0, 3), "dilation": (2, 1)},
    {"kernel_size": 1, "stride": 2, "padding": 1},
    {"kernel_size": 5, "padding": "same", "dilation": 2},
    {"kernel_size": 3, "padding": 1, "bias": False},
]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_expansion = pytest.mark.parametrize(("expansion", "rule"), EXPANSIONS.values(), ids=EXPANSIONS)
every_geometry = pytest.mark.parametrize("geometry", GEOMETRY, ids=lambda g: "-".join(f"{k}={v}" for k, v in g.items()))


def built(case: Case, expansion: Expansion, rule: Sharing, tasks: int = 2) -> tuple[nn.Module, MultiTask]:
    torch.manual_seed(0)
    network = nn.Sequential(case.build()).double()
    if isinstance(expansion, LinearExpansion) and any(getattr(m, "groups", 1) > 1 for m in network.modules()):
        pytest.skip("refused: see the factors' tests")
    model = MultiTask(network).double()
    for n in range(tasks):
        model.add_task(f"task{n}", method=OfRecipes(Update(expansion, case.where, rule))).double()
    model.inventory.double()
    return network, model


def toward(output: Tensor) -> Tensor:
    return (output * torch.arange(output.numel(), dtype=output.dtype).reshape(output.shape).cos()).sum()


def learned(model: MultiTask) -> list[Tensor]:
    return [*model["task0"].parameters(), *model.inventory.parameters()]


@pytest.mark.sampled(2)
@every_case
@every_expansion
def test_it_begins_exactly_and_runs_as_the_dense_weight_does(case: Case, expansion: Expansion, rule: Sharing) -> None:
    network, model = built(case, expansion, rule)
    x = torch.randn(2, *case.shape, dtype=torch.float64, requires_grad=True)
    if expansion != SVD(rank=2):
        torch.testing.assert_close(model(x, task="task0"), network(x), rtol=1e-5, atol=1e-5)  # made in float32
    for parameter in learned(model):
        nn.init.normal_(parameter, std=0.5)
    found, oracle = model(x, task="task0"), functional_call(network, dense_of(model, "task0"), (x,))
    torch.testing.assert_close(found, oracle)
    wanted = [x, *learned(model)]
    torch.testing.assert_close(torch.autograd.grad(toward(found), wanted), torch.autograd.grad(toward(oracle), wanted))


@pytest.mark.sampled(2)
@every_case
@every_expansion
def test_mixed_rows_and_folds_are_the_tasks_one_by_one(case: Case, expansion: Expansion, rule: Sharing) -> None:
    _, model = built(case, expansion, rule)
    for parameter in [*learned(model), *model["task1"].parameters()]:
        nn.init.normal_(parameter, std=0.5)
    x, names = torch.randn(3, *case.shape, dtype=torch.float64), ["task1", "task0", "task1"]
    alone = torch.cat([model(x[n : n + 1], task=name) for n, name in enumerate(names)])
    torch.testing.assert_close(model(x, task=names), alone)
    every = model(x, task=["task0", "task1"], broadcast=True)
    for name, output in every.items():
        torch.testing.assert_close(output, model(x, task=name))
        torch.testing.assert_close(model.fold(name)(x), output)


def layer(geometry: dict, method: tfold.Method, **settings: int) -> tuple[nn.Conv2d, MultiTask]:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, **{"bias": True, **geometry, **settings}).double()
    model = MultiTask(nn.Sequential(conv), method)
    model.add_task("a").double()
    model.inventory.double()
    for name, leaf in model.inventory.named_parameters():
        if not name.endswith(("mean", "var")):
            nn.init.normal_(leaf, std=0.5)
    return conv, model


@every_geometry
def test_the_svd_is_a_column_and_a_row_convolution_scaled_between(geometry: dict) -> None:
    conv, model = layer(geometry, tfold.OverParameterised(rank=5))
    update = updates_of(model["a"])["0"]
    nn.init.normal_(m := update.own["diagonal"])
    u, v = (model.inventory["over-parameterised.0/0/weight"][name] for name in ("u", "v"))
    x = torch.randn(2, 4, 11, 12, dtype=torch.float64, requires_grad=True)

    def two(size: str) -> tuple[int, int]:
        value = getattr(conv, size)
        if value == "same":
            value = tuple(d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
        return value

    (stride, padding, dilation), bias = map(two, ("stride", "padding", "dilation")), conv.bias
    if bias is not None:
        bias = model.inventory["over-parameterised.1/0/rest"]["bias"]
    between = F.conv2d(x, v[..., None], None, (stride[0], 1), (padding[0], 0), (dilation[0], 1))
    scaled = between * m[0, :, None, None]
    wanted = F.conv2d(scaled, u.permute(0, 2, 1)[:, :, None], bias, (1, stride[1]), (0, padding[1]), (1, dilation[1]))
    found = model(x, task="a")
    torch.testing.assert_close(found, wanted)
    inputs = [x, m, u, v]
    torch.testing.assert_close(torch.autograd.grad(toward(found), inputs), torch.autograd.grad(toward(wanted), inputs))


@every_geometry
def test_an_expandnet_is_three_convolutions(geometry: dict) -> None:
    conv, model = layer(geometry, tfold.ExpandNet(rate=2))
    bank = model.inventory["expandnet.0/0/weight"]
    first, middle, last = (bank[name] for name in ("first", "middle", "last"))
    x = torch.randn(2, 4, 11, 12, dtype=torch.float64, requires_grad=True)
    bias = None if conv.bias is None else model.inventory["expandnet.1/0/rest"]["bias"]
    inner = F.conv2d(F.conv2d(x, first[:, :, None, None]), middle, None, conv.stride, conv.padding, conv.dilation)
    wanted, found = F.conv2d(inner, last[:, :, None, None], bias), model(x, task="a")
    torch.testing.assert_close(found, wanted)
    inputs = [x, first, middle, last]
    torch.testing.assert_close(torch.autograd.grad(toward(found), inputs), torch.autograd.grad(toward(wanted), inputs))


REPVGG = {
    "identity": {"kernel_size": 3, "padding": 1, "out_channels": 4},
    "identity-same": {"kernel_size": (3, 5), "padding": "same", "out_channels": 4},
    "stride": {"kernel_size": 3, "padding": 1, "stride": 2},
    "wide": {"kernel_size": 3, "padding": 1, "bias": False},
    "no-padding": {"kernel_size": 3},
    "dilation": {"kernel_size": 5, "padding": 3, "dilation": (2, 1)},
    "groups": {"kernel_size": 3, "padding": 1, "out_channels": 4, "groups": 2},
    "depthwise": {"kernel_size": 3, "padding": 1, "out_channels": 4, "groups": 4, "stride": 2},
}


@pytest.mark.parametrize("geometry", REPVGG.values(), ids=REPVGG)
def test_repvgg_is_its_branches_in_training_and_one_convolution_after(geometry: dict) -> None:
    settings = {"in_channels": 4, "out_channels": 6, **geometry}
    torch.manual_seed(0)
    conv = nn.Conv2d(**settings).double()
    model = MultiTask(nn.Sequential(conv), tfold.RepVGG())
    model.add_task("a").double()
    model.inventory.double()
    x = torch.randn(5, 4, 11, 12, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(model.eval()(x, task="a"), conv(x), rtol=1e-6, atol=1e-6)  # made in float32

    bank = model.inventory["repvgg.0/0/branches"]
    names = ("kernel", "point", "identity") if "identity/gamma" in bank else ("kernel", "point")
    assert ("identity" in names) == (conv.stride == (1, 1) and conv.out_channels == 4)
    modules: dict[str, nn.Sequential] = {}
    for name in names:
        norm = nn.BatchNorm2d(conv.out_channels, eps=EPSILON).double()
        for mine, theirs in (("gamma", norm.weight), ("beta", norm.bias)):
            nn.init.normal_(bank[f"{name}/{mine}"])
            theirs.data.copy_(bank[f"{name}/{mine}"])
        branch = nn.Identity()
        if name != "identity":
            branch = nn.Conv2d(**{**settings, "bias": False}).double()  # type: ignore[assignment]
            weight = bank[f"{name}/weight"].detach()
            high, wide = (k // 2 for k in conv.kernel_size)
            branch.weight.data = weight if name == "kernel" else F.pad(weight, (wide, wide, high, high))  # type: ignore[union-attr]
        modules[name] = nn.Sequential(branch, norm)

    def both() -> tuple[Tensor, Tensor]:
        return model(x, task="a"), sum(modules[name](x) for name in names)  # type: ignore[return-value]

    model.train()
    for _ in range(3):  # running statistics move alike
        found, wanted = both()
    torch.testing.assert_close(found, wanted)
    mine = [x, *(bank[f"{name}/{part}"] for name in names for part in ("gamma", "beta"))]
    theirs = [x, *(p for name in names for p in (modules[name][1].weight, modules[name][1].bias))]
    torch.testing.assert_close(
        torch.autograd.grad(toward(found), mine, retain_graph=True),  # type: ignore[arg-type]
        torch.autograd.grad(toward(wanted), theirs, retain_graph=True),  # type: ignore[arg-type]
    )
    kernel = torch.autograd.grad(toward(found), bank["kernel/weight"])[0]
    torch.testing.assert_close(kernel, torch.autograd.grad(toward(wanted), modules["kernel"][0].weight)[0])  # type: ignore[arg-type]

    model.eval()
    for branch in modules.values():
        branch.eval()
    found, wanted = both()
    torch.testing.assert_close(found, wanted)
    folded = model.fold("a")
    assert [type(m) for m in folded.modules()] == [nn.Sequential, nn.Conv2d]
    torch.testing.assert_close(folded(x), wanted)


def test_layers_that_are_left_out_are_common_as_they_are() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    model = MultiTask(network, tfold.OverParameterised(targets="0"))
    model.add_task("a")
    assert {key: sorted(model.inventory[key]) for key in model.inventory} == {
        "over-parameterised.0/0/weight": ["u", "v"],
        "over-parameterised.1/0/rest": ["bias"],
        "over-parameterised.1/2/rest": ["bias", "weight"],
    }
    with pytest.raises(ValueError, match="tasks that share an inventory share its sizes"):
        model.add_task("b", targets="*")
    assert list(model.tasks) == ["a"]


def test_statistics_are_common_or_a_task_s_own() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    for method, common in ((tfold.HardSharing(), True), (tfold.OverParameterised(), False)):
        model = MultiTask(network, method)
        for name in "ab":
            model.add_task(name)
        before = [p.clone() for p in model.inventory.parameters()]
        model(torch.randn(4, 3, 8, 8), task="a")  # in training mode
        moved = [not torch.equal(a, b) for a, b in zip(before, model.inventory.parameters(), strict=True)]
        assert any(moved) == common
        assert bool(list(model["a"].buffers())) == (not common)
        if not common:
            means = [model[name].state_dict()["sites.1.1:own.own.running_mean"] for name in "ab"]
            assert means[0].any() and not means[1].any()
    with pytest.raises(ValueError, match="statistics='each' is not known"):
        Rest(statistics="each")  # type: ignore[arg-type]


@pytest.mark.parametrize("keyword", [False, True])
def test_branches_of_mixed_rows_are_normalised_task_by_task(keyword: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(input=x) if keyword else self.conv(x)

    torch.manual_seed(0)
    model = MultiTask(Net(), tfold.RepVGG()).train()
    for name in "ab":
        model.add_task(name)
    x = torch.randn(4, 3, 6, 6)
    mixed = model(x, task=["a", "b", "a", "b"])
    torch.testing.assert_close(mixed[::2], model(x[::2], task="a"))


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


@pytest.mark.parametrize(
    ("method", "tied"),
    [
        (tfold.OverParameterised(), False),
        (tfold.ExpandNet(rate=1.5), False),
        (tfold.LoRA(rank=2, layers="linear", init="normal"), False),
        (tfold.LoRA(rank=2, layers="linear", init="normal", targets="first"), False),
        (tfold.FineTuning(), True),
        (tfold.HardSharing(), True),
    ],
    ids=lambda value: value.name if isinstance(value, tfold.Method) else "",
)
def test_layers_that_share_a_weight_fold_to_what_the_task_does(method: tfold.Method, tied: bool) -> None:
    torch.manual_seed(0)
    model = MultiTask(Tied(), method).eval()
    model.add_task("a")
    with torch.no_grad():
        for parameter in [*model["a"].parameters(), *model.inventory.parameters()]:
            parameter.add_(torch.randn_like(parameter) * 0.1)
    x, folded = torch.randn(5, 6), model.eval().fold("a")
    torch.testing.assert_close(folded(x), model(x, task="a"))
    assert (folded.first.weight is folded.second.weight) == tied
