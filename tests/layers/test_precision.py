"""Backbones in half precision: a task's numbers are in single precision, its outputs in the backbone's type."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask
from taskfold.kinds import kind_of

HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


class Maps(nn.Module):
    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, groups=2), nn.GroupNorm(2, 8), nn.ConvTranspose2d(8, 8, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.norm(self.stem(x)).relu()).mean((2, 3))


class Words(nn.Module):
    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.words, self.block = nn.Embedding(20, 8), nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
        self.memory, self.norm, self.last = nn.GRU(8, 8, batch_first=True), nn.RMSNorm(8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.memory(self.block(self.words(x)))[0])).mean(1)


INPUTS = {Maps: lambda dtype: torch.randn(4, 3, 8, 8).to(dtype), Words: lambda dtype: torch.randint(0, 20, (4, 5))}
BOTH = (
    tfold.HeadNorm(),
    tfold.FineTuning(),
    tfold.HardSharing(),
    tfold.BitFit(),
    tfold.LoRA(rank=2, layers="all", norm=True),
    tfold.Piggyback(),
    tfold.OverParameterised(),
)
CASES: list[tuple[Any, tfold.Method]] = [
    *((network, method) for network in (Maps, Words) for method in BOTH),
    *((Maps, method) for method in (tfold.FTN(rank=2), tfold.RepVGG(), tfold.SSF())),
    *((Words, method) for method in (tfold.BottleneckAdapter(width=4), tfold.ExpandNet(), tfold.Poly(rank=2))),
]
every_case = pytest.mark.parametrize(
    ("network", "method"), CASES, ids=lambda v: getattr(v, "name", v.__class__.__name__)
)


def made(network: Any, method: tfold.Method, dtype: torch.dtype) -> MultiTask:
    torch.manual_seed(0)
    model = MultiTask(network().to(dtype), method)
    for name in "ab":
        model.add_task(name, head=3)
    with torch.no_grad():
        for number in [*model.tasks.parameters(), *model.inventory.parameters()]:
            if number.requires_grad:
                number += 0.05 * torch.randn_like(number)
    return model


@pytest.mark.filterwarnings("ignore:Words runs tasks one after another")
@pytest.mark.in_turn("dtype")
@HALVES
@every_case
def test_it_trains_and_every_way_says_the_same(network: Any, method: tfold.Method, dtype: torch.dtype) -> None:
    model, rows = made(network, method, dtype).train(), list("abba")
    x = INPUTS[network](dtype)
    own = [p for p in model.parameters() if p.requires_grad]
    assert {p.dtype for p in own} == {torch.float32}
    steps = torch.optim.Adam(own, lr=1e-3)
    for task in (rows, "a", "b", list("aaab")):
        steps.zero_grad()
        found = model(x, task=task)
        torch.stack([*found]).float().square().mean().backward()
        steps.step()
    assert all(tensor.isfinite().all() for tensor in [*model.parameters(), *model.buffers()])
    model.eval()
    with torch.no_grad():
        alone = {name: model(x, task=name) for name in "ab"}
        ways = {"mixed": model(x, task=rows), "bank": model.bank()(x, task=rows)}
        for way, said in ways.items():
            for n, name in enumerate(rows):
                assert said[n].dtype == dtype, way
                torch.testing.assert_close(said[n], alone[name][n], rtol=0.03, atol=0.03)
        broadcast = model(x, task=["a", "b"], broadcast=True)
        torch.testing.assert_close(broadcast["b"], alone["b"], rtol=0.03, atol=0.03)
        if model.foldable("a"):
            torch.testing.assert_close(model.fold("a")(x), alone["a"], rtol=0.03, atol=0.03)


def moved(model: MultiTask, x: Tensor) -> float:
    """How far γ is from 1 after a hundred small steps."""
    norms = model["a"].groups()["norm"]
    steps = torch.optim.Adam(norms, lr=1e-3)
    for _ in range(100):
        steps.zero_grad()
        model(x, task="a").float().square().mean().backward()
        steps.step()
    return (norms[0] - 1).abs().max().item()


@HALVES
@pytest.mark.parametrize(
    "method", [tfold.HeadNorm(), tfold.FineTuning(), tfold.BitFit(), tfold.LoRA(rank=2, norm=True)]
)
def test_small_steps_are_not_rounded_away(method: tfold.Method, dtype: torch.dtype) -> None:
    far = []
    for held in (torch.float32, dtype):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 8)).to(held)
        model = MultiTask(net, method, num_features=8)
        model.add_task("a", head=3)
        far.append(moved(model, torch.randn(16, 5).to(held)))
    assert far[0] == pytest.approx(far[1], rel=0.1)
    assert far[1] > 0.05


@HALVES
def test_running_statistics_take_small_steps(dtype: torch.dtype) -> None:
    means = []
    for held in (torch.float32, dtype):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8, momentum=1e-3)).to(held)
        model = MultiTask(net, tfold.HeadNorm(statistics="own"), num_features=8).train()
        for name in "ab":
            model.add_task(name, head=3)
        x = torch.randn(16, 5) + 1
        for _ in range(20):
            model(x.to(held), task="a")
            model(x.to(held), task=["a"] * 8 + ["b"] * 8)
        means.append(next(b for name, b in model["a"].named_buffers() if name.endswith("mean")))
    assert means[1].dtype == torch.float32
    torch.testing.assert_close(means[1], means[0], rtol=0.05, atol=1e-3)


@HALVES
def test_a_model_that_is_cast_keeps_its_tasks(dtype: torch.dtype) -> None:
    model = made(Maps, tfold.FTN(rank=2), torch.float32).eval()
    before = {name: tensor.clone() for name, tensor in model.tasks.state_dict().items()}
    wanted = model(x := INPUTS[Maps](torch.float32), task="a")
    model.to(dtype)
    assert {p.dtype for p in model.backbone.parameters()} == {dtype}
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.tasks.state_dict().items())
    torch.testing.assert_close(model(x.to(dtype), task="a").float(), wanted, rtol=0.05, atol=0.05)
    model.double()
    assert {p.dtype for p in model.parameters()} == {torch.float64}


class Cast(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


@every_case
def test_a_bank_of_layers_in_several_types(network: Any, method: tfold.Method) -> None:
    if network is Maps:
        pytest.skip("a network of linear layers will do")
    half = torch.bfloat16
    torch.manual_seed(0)
    first, last = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8)), nn.Linear(8, 8)
    net = nn.Sequential(
        first.to(half), Cast(torch.float32), nn.Linear(8, 8), nn.LayerNorm(8), Cast(half), last.to(half)
    )
    try:
        model = MultiTask(net, method, num_features=8).eval()
        for name in "ab":
            model.add_task(name, head=3)
    except ValueError:
        pytest.skip("the method finds nothing in it")
    bank = model.bank()
    assert bank.table.numbers.dtype == torch.float32
    x, rows = torch.randn(4, 6).to(half), list("abba")
    for n, (name, said) in enumerate(zip(rows, bank(x, task=rows), strict=True)):
        torch.testing.assert_close(said, model(x, task=name)[n], rtol=0.03, atol=0.03)
    try:
        plain = model.fold("a")
    except ValueError:
        return  # what the method does is no change of tensors
    torch.testing.assert_close(plain(x), model(x, task="a"), rtol=0.03, atol=0.03)


HEADS = {
    "linear": lambda: nn.Linear(8, 3),
    "deep": lambda: nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)),
}


@HALVES
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_heads_say_it_in_the_type_of_the_backbone(head: Any, dtype: torch.dtype) -> None:
    model = MultiTask(Maps().to(dtype), tfold.HeadNorm()).train()
    heard: list[Tensor] = []
    module = head()
    model.add_task("a", head=module)
    model.add_task("b", head=head())
    module.register_forward_hook(lambda *given: heard.append(given[2]))
    x = INPUTS[Maps](dtype)
    model(x, task="a").float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in module.parameters())
    model.eval()
    said, fold = model(x, task="a"), model.fold("a")
    assert len(heard) == 2
    assert said.dtype == fold(x).dtype == model(x, task=list("abab"))[1].dtype == dtype
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    torch.testing.assert_close(fold(x), said, rtol=0.03, atol=0.03)


class Coded(nn.Linear):
    """A weight of half precision that nothing but a linear layer reads."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, dtype=torch.bfloat16)
        self.weight = nn.Parameter(torch.zeros(outputs, 1, dtype=torch.uint8), requires_grad=False)
        self.register_buffer("real", torch.randn(outputs, inputs, dtype=torch.bfloat16))

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.real, self.bias)


def test_a_quantised_layer_in_half_precision() -> None:
    net = nn.Sequential(Coded(6, 8), nn.ReLU(), Coded(8, 8))
    assert kind_of(net[0]).dtype == torch.bfloat16
    model = MultiTask(net, tfold.LoRA(rank=2, layers="linear"), num_features=8).eval()
    for name in "ab":
        for number in model.add_task(name, head=3).parameters():
            number.data += 0.1 * torch.randn_like(number)
    x, rows = torch.randn(4, 6).bfloat16(), list("abab")
    for said in (model(x, task=rows), model.bank()(x, task=rows)):
        for n, name in enumerate(rows):
            torch.testing.assert_close(said[n], model(x, task=name)[n], rtol=0.03, atol=0.03)
