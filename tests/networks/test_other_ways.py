"""Networks that call their layers in unusual ways: right, or refused with the reason and the remedy."""

from __future__ import annotations

import copy
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import taskfold as tfold
from taskfold import Method, MultiTask

from .tuned import tuned

METHODS = (tfold.LoRA(rank=2, layers="linear"), tfold.FineTuning(), tfold.Piggyback())
WHOLE = (*METHODS, tfold.OverParameterised(), tfold.BitFit(), tfold.SSF())


def check(model: MultiTask, *inputs: Any, atol: float = 1e-5) -> None:
    """Single, mixed, broadcast and banked answers are those of the folds, which differ."""
    names = list("abab")
    with torch.no_grad():
        each = {name: model.fold(name)(*inputs) for name in "ab"}
        wanted = torch.stack([each[name][n] for n, name in enumerate(names)])
        assert (each["a"] - each["b"]).abs().max() > 100 * atol
        for name in "ab":
            torch.testing.assert_close(model(*inputs, task=name), each[name], atol=atol, rtol=1e-4)
            torch.testing.assert_close(
                model(*inputs, task=["a", "b"], broadcast=True)[name], each[name], atol=atol, rtol=1e-4
            )
        for one in (model, model.bank()):
            torch.testing.assert_close(one(*inputs, task=names), wanted, atol=atol, rtol=1e-4)


class Encoder(nn.Module):
    def __init__(self, norm: bool, first: bool = True) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=first)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8) if norm else None)
        self.axis, self.last = 1 if first else 0, nn.Linear(8, 3)

    def forward(self, x: Tensor, pad: Tensor) -> Tensor:
        x = x if self.axis else x.transpose(0, 1)
        return self.last(self.encoder(x, src_key_padding_mask=pad).mean(self.axis))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:.*task by task")
@pytest.mark.in_turn("padding")
@pytest.mark.parametrize("padding", ["left", "both", "floating", "none"])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("method", [*METHODS, tfold.HeadOnly(), tfold.LoRA(rank=2, layers="linear", targets="last")])
def test_padded_positions_are_what_torchs_fused_encoder_makes_of_them(method: Method, norm: bool, padding: str) -> None:
    torch.manual_seed(0)
    net, x = Encoder(norm).eval(), torch.randn(4, 5, 8)
    pad = torch.arange(5)[None] >= torch.tensor([5, 3, 2, 4])[:, None]
    if padding == "both":  # torch takes its fused path where padding is at the right alone
        pad[:, 0] = True
    if padding == "none":
        pad[:] = False
    mask = torch.zeros(4, 5).masked_fill(pad, -torch.inf) if padding == "floating" else pad
    new = MultiTask(net, method)
    new.add_task("new")
    new.eval()
    with torch.no_grad():
        torch.testing.assert_close(new(x, mask, task="new"), net(x, mask), atol=1e-5, rtol=1e-4)
    if not isinstance(method, tfold.HeadOnly):
        check(tuned(Encoder(norm), method), x, mask)


@pytest.mark.parametrize("method", WHOLE, ids=lambda method: method.name)
def test_autocast_gives_every_way_one_type(method: Method) -> None:
    torch.manual_seed(0)
    model, x = tuned(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)), method), torch.randn(4, 6)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        wanted = model.fold("a")(x).dtype
        found = {
            "single": model(x, task="a"),
            "mixed": model(x, task=list("abab")),
            "bank": model.bank()(x, task=list("abab")),
            "broadcast": model(x, task=["a", "b"], broadcast=True)["a"],
        }
    assert {name: y.dtype for name, y in found.items()} == dict.fromkeys(found, wanted)


class Functional(nn.Module):
    """Calls a layer with other parameters, as noisy networks and inner steps of meta-learning do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        doubled = {name: 2 * tensor for name, tensor in self.first.named_parameters()}
        return self.last(torch.func.functional_call(self.first, doubled, (x,)).tanh())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_layer_called_with_other_parameters_is_refused(method: Method) -> None:
    x = torch.randn(4, 6)
    for ask in ("a", list("abab")):
        model = tuned(Functional(), method)
        for one in (model, model.bank()):
            with pytest.raises(
                ValueError, match=r"calls layer 'first' with other parameters.*targets=\('\*', '!first'"
            ):
                one(x, task=ask if one is model else list("abab"))


def test_around_it_tasks_are_right_and_so_are_parameters_of_the_callers() -> None:
    x = torch.randn(4, 6)
    model = tuned(Functional(), tfold.LoRA(rank=2, layers="linear", targets="last"))
    check(model, x)
    plain = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    model = tuned(plain, METHODS[0])
    others = {name: 2 * tensor for name, tensor in model.named_parameters() if name.startswith("backbone")}
    found = [torch.func.functional_call(model, others, (x,), {"task": task}) for task in ("a", list("abab"))]
    twin = copy.deepcopy(model)
    for name, tensor in others.items():
        twin.get_parameter(name).data.copy_(tensor)
    for task, y in zip(("a", list("abab")), found, strict=True):
        torch.testing.assert_close(y, twin(x, task=task))


def test_layers_in_threads_of_the_networks_own_are_refused() -> None:
    class Threads(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            with ThreadPoolExecutor(2) as pool:
                return pool.submit(self[0], x).result()

    with pytest.raises(RuntimeError, match=r"'0' ran outside MultiTask.forward, or in a thread of the network's own"):
        tuned(Threads(nn.Linear(6, 4)), METHODS[0])(torch.randn(4, 6), task="a")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("made", ["scripted", "traced"])
def test_scripted_pieces_stand_beside_adapted_layers(made: str) -> None:
    piece = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
    inner = torch.jit.script(piece) if made == "scripted" else torch.jit.trace(piece, torch.randn(4, 8))
    net = nn.Sequential(nn.Linear(6, 8), inner, nn.Linear(8, 4))
    check(tuned(net, tfold.LoRA(rank=2, layers="linear", targets=("0", "2"))), torch.randn(4, 6))
    with pytest.raises(TypeError, match=r"layer '1\..*' is scripted or traced.*targets"):
        MultiTask(net, tfold.FineTuning()).add_task("a")


@pytest.mark.filterwarnings("ignore:.*task by task")
def test_numbers_asked_as_lists() -> None:
    class Asks(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input * 2 if input.sum().tolist() > 1e9 else input)

    check(tuned(nn.Sequential(nn.Tanh(), Asks(6, 4)), tfold.LoRA(rank=2, targets="1")), torch.randn(4, 6))


class Sums(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.rnn = nn.Linear(6, 6), nn.GRU(6, 6, batch_first=True)

    def forward(self, x: Any) -> Tensor:
        if isinstance(x, PackedSequence):
            return self.first(self.rnn(x)[1][0])
        y = self.first(x)
        return torch.stack([one.sum(0) for one in y.unbind()]) if y.is_nested else y


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_inputs_whose_rows_can_not_be_taken_apart() -> None:
    model = tuned(Sums(), tfold.LoRA(rank=2, layers="linear"))
    jagged = torch.nested.nested_tensor([torch.randn(n, 6) for n in (2, 3, 1, 4)], layout=torch.jagged)
    torch.testing.assert_close(model(jagged, task="a"), model.fold("a")(jagged))
    packed = pack_padded_sequence(torch.randn(4, 3, 6), torch.tensor([3, 3, 3, 3]), batch_first=True)
    torch.testing.assert_close(model(packed, task="a"), model.fold("a")(packed))
    sparse = torch.randn(4, 6).relu().to_sparse()
    for x, words in ((jagged, "nested and sparse"), (sparse, "nested and sparse"), (packed, "packed sequence")):
        for one in (model, model.bank()):
            with pytest.raises(ValueError, match=f"{words}.*run one task at a time"):
                one(x, task=list("abab") if x is not packed else ["a", "b"] * 6)


def test_an_argument_of_the_networks_own_called_task() -> None:
    class Named(nn.Linear):
        def forward(self, input: Tensor, task: str = "") -> Tensor:
            return super().forward(input) * (2 if task else 1)

    model = tuned(nn.Sequential(nn.Identity(), nn.Linear(6, 4)), METHODS[0])
    with pytest.raises(TypeError, match=r"'task' names the task of a model.*by its position"):
        model.for_task("a")(torch.randn(4, 6), task="double")
    named = tuned(Named(6, 4), tfold.LoRA(rank=2, layers="linear"))
    x = torch.randn(4, 6)
    torch.testing.assert_close(named.for_task("a")(x, "double"), 2 * named.for_task("a")(x))
