"""A bottleneck behind a layer or beside it: against the formula, by rows, and where it does not fit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from taskfold.interventions import Activation, Adapter, Layer, stacked
from taskfold.kinds import Rows, Tensors, kind_of

SIGMA: dict[str, nn.Module] = {"relu": nn.ReLU(), "gelu": nn.GELU(), "silu": nn.SiLU(), "tanh": nn.Tanh()}


class Words(nn.Embedding):
    """An embedding of numbers, rounded to words."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x.detach() * 3).round().long() % 9)


class Itself(nn.Module):
    """Puts out what it is given, and something else."""

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return x, None


class Attends(nn.MultiheadAttention):
    """Torch's attention on one input."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:  # type: ignore[override]
        return super().forward(x, x, x, need_weights=False)


@dataclass(frozen=True)
class Case:
    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    """Input without the batch."""
    sizes: tuple[int, int]
    """O and I of the adapter."""
    axis: int = -1
    """Of channels."""
    beside: bool = False


CASES = [
    Case("linear", lambda: nn.Linear(7, 5), (7,), (5, 5)),
    Case("linear-tokens", lambda: nn.Linear(7, 5, bias=False), (3, 7), (5, 5)),
    Case("transformers-conv1d", lambda: Conv1D(5, 7), (3, 7), (5, 5)),
    Case("embedding", lambda: Words(9, 5), (3,), (5, 5)),
    Case("conv-1x1", lambda: nn.Conv2d(4, 6, 1), (4, 3, 2), (6, 6), 1),
    Case("conv-3x3-stride-groups", lambda: nn.Conv2d(4, 6, 3, 2, 1, groups=2), (4, 5, 6), (6, 6), 1),
    Case("conv1d", lambda: nn.Conv1d(4, 6, 3), (4, 7), (6, 6), 1),
    Case("transposed-conv", lambda: nn.ConvTranspose2d(4, 6, 2, 2), (4, 3, 2), (6, 6), 1),
    Case("attention", lambda: Attends(6, 2, batch_first=True), (3, 6), (6, 6)),
    Case("any-module", Itself, (3, 6), (6, 6)),
    Case("beside-linear", lambda: nn.Linear(7, 5), (3, 7), (5, 7), beside=True),
    Case("beside-conv-1x1", lambda: nn.Conv2d(4, 6, 1, groups=2), (4, 3, 2), (6, 4), 1, beside=True),
    Case("beside-attention", lambda: Attends(6, 2, batch_first=True), (3, 6), (6, 6), beside=True),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_activation = pytest.mark.parametrize("activation", get_args(Activation))


def built(case: Case, widths: tuple[int, ...] = (3,)) -> tuple[Layer, list[dict[str, Tensor]], Tensor]:
    """A layer, tensors of so many tasks, and an input with six rows."""
    torch.manual_seed(0)
    kind = kind_of(case.build().double().requires_grad_(False))
    out, inp = case.sizes
    each = [{"down": (r, inp), "down_bias": (r,), "up": (out, r), "up_bias": (out,)} for r in widths]
    tensors = [
        {name: torch.randn(shape, dtype=torch.float64, requires_grad=True) for name, shape in one.items()}
        for one in each
    ]
    return Layer(kind, "layer"), tensors, torch.randn(6, *case.shape, dtype=torch.float64, requires_grad=True)


def first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def by_hand(case: Case, adapter: Adapter, layer: Layer, tensors: Tensors, x: Tensor) -> Tensor:
    """Two linear layers and a non-linearity of torch, and the layer as it is."""
    y = first(layer.kind.module(x))
    down, up = nn.Linear(*tensors["down"].shape[::-1]), nn.Linear(*tensors["up"].shape[::-1])
    given = (x if case.beside else y).movedim(case.axis, -1)
    z = torch.func.functional_call(down, {"weight": tensors["down"], "bias": tensors["down_bias"]}, (given,))
    z = SIGMA[adapter.activation](z)
    made = torch.func.functional_call(up, {"weight": tensors["up"], "bias": tensors["up_bias"]}, (z,))
    return y + adapter.scale * made.movedim(-1, case.axis)


def gradients(output: Tensor, wanted: list[Tensor]) -> list[Tensor | None]:
    toward = torch.arange(output.numel(), dtype=output.dtype).reshape(output.shape).cos()
    return list(torch.autograd.grad((output * toward).sum(), wanted, allow_unused=True))


@every_case
@every_activation
@pytest.mark.parametrize("scale", [1.0, -0.3])
def test_runs_as_the_formula_says(case: Case, activation: Activation, scale: float) -> None:
    adapter = Adapter(activation, scale, case.beside)
    layer, (tensors,), x = built(case)
    assert adapter.channels(layer.kind) in (case.sizes, None)
    assert adapter.fits(layer.kind, tensors)
    found, oracle = first(adapter.run(tensors, layer, layer, (x,), {})), by_hand(case, adapter, layer, tensors, x)
    assert not torch.allclose(oracle, first(layer(x))), "the adapter must do something"
    torch.testing.assert_close(found, oracle)
    wanted = [x, *tensors.values()]
    torch.testing.assert_close(gradients(found, wanted), gradients(oracle, wanted))
    with torch.no_grad():
        before = x.clone()
        torch.testing.assert_close(first(adapter.run(tensors, layer, layer, (x,), {})), oracle)
        assert torch.equal(x, before), "an input is nobody's to write to"


def of(*entries: int, each: int = 1, known: bool = True) -> Rows:
    return Rows(len(entries) * each, torch.tensor(entries), each, entries if known else None)


ROWS = {
    "one-of-each": of(2, 0, 1, 2, 0, 1, known=False),
    "unequal-groups": of(2, 2, 0, 2, 0, 2),
    "equal-groups": of(2, 0, 1, 2, 0, 1),
    "equal-groups-of-some": of(2, 0, 2, 0, 0, 2),
    "sorted": of(0, 0, 1, 1, 2, 2),
    "windows": of(2, 0, 1, each=2, known=False),
    "windows-in-groups": of(2, 0, 2, each=2),
    "side-by-side": Rows.side_by_side(3, 2),
}


@every_case
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_rows_are_the_entries_one_by_one(case: Case, rows: Rows) -> None:
    """Bottlenecks of different widths, too."""
    adapter = Adapter("gelu", 0.5, case.beside)
    layer, each, x = built(case, (3, 1, 4))
    together = stacked(adapter, layer.kind, each)
    assert together is not None
    assert adapter.goes_by_rows(layer.kind, frozenset(together), training=True)
    found = first(adapter.rows(together, rows, layer, layer, (x,), {}))
    entries = rows.entry_of_each(x.device).tolist()
    alone = [first(adapter.run(each[entry], layer, layer, (x[n : n + 1],), {})) for n, entry in enumerate(entries)]
    torch.testing.assert_close(found, torch.cat(alone))
    wanted = [x, *(tensor for entry in sorted(set(entries)) for tensor in each[entry].values())]
    torch.testing.assert_close(gradients(found, wanted), gradients(torch.cat(alone), wanted))
    with torch.no_grad():
        torch.testing.assert_close(first(adapter.rows(together, rows, layer, layer, (x,), {})), found)


@every_case
@every_activation
def test_a_task_that_leaves_the_layer_alone_is_the_layer_bit_for_bit(case: Case, activation: Activation) -> None:
    adapter = Adapter(activation, beside=case.beside)
    layer, each, x = built(case, (3, 5))
    together = stacked(adapter, layer.kind, [*each, None])
    assert together is not None
    plain = first(layer(x))
    neutral = {name: tensor[2] for name, tensor in together.items()}
    assert torch.equal(first(adapter.run(neutral, layer, layer, (x,), {})), plain)
    for rows in (of(0, 2, 1, 2, 2, 0, known=False), of(0, 2, 1, 2, 2, 0)):
        found = first(adapter.rows(together, rows, layer, layer, (x,), {}))
        assert torch.equal(found[[1, 3, 4]], layer_rows := plain[[1, 3, 4]])
        assert not torch.allclose(found[[0, 2, 5]], layer_rows)


def test_the_types_of_a_layer_and_of_autocast() -> None:
    torch.manual_seed(0)
    for case in (CASES[1], CASES[4]):
        layer, (tensors,), x = built(case)
        layer.kind.module.float()
        adapter = Adapter("silu")
        wide = by_hand(case, adapter, layer, {name: t.float() for name, t in tensors.items()}, x.float())
        for rows in (None, of(0, 0, 0, 0, 0, 0, known=False), of(0, 0, 0, 0, 0, 0)):
            with torch.autocast("cpu", torch.bfloat16):
                single = {name: tensor.float() for name, tensor in tensors.items()}
                several = {name: tensor[None] for name, tensor in single.items()}
                run = adapter.run(single, layer, layer, (x.float(),), {})
                found = run if rows is None else adapter.rows(several, rows, layer, layer, (x.float(),), {})
            assert found.dtype == torch.bfloat16
            torch.testing.assert_close(found.float(), wide, rtol=0.1, atol=0.15)
        half = copy.deepcopy(layer.kind.module).to(torch.bfloat16)
        made = adapter.run(single, Layer(kind_of(half), ""), Layer(kind_of(half), ""), (x.to(torch.bfloat16),), {})
        assert made.dtype == torch.bfloat16


def test_no_plain_layer_holds_it() -> None:
    kind = kind_of(nn.Linear(3, 3))
    for adapter, where in ((Adapter(), "behind"), (Adapter("tanh", beside=True), "beside")):
        assert not adapter.folds(kind)
        with pytest.raises(ValueError, match=rf"{where} this linear layer.*{adapter.activation}.*export the bank"):
            adapter.folded(kind, {}, {})


def test_where_it_does_not_fit() -> None:
    beside = Adapter(beside=True)
    assert Adapter().channels(kind_of(nn.BatchNorm2d(3))) is None
    for module in (nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1, 2), nn.Conv2d(3, 3, 1, padding=1)):
        assert beside.channels(kind_of(module)) is None
        assert Adapter().channels(kind_of(module)) == (3, 3)
    assert beside.channels(kind_of(nn.Embedding(9, 3))) is None
    assert beside.channels(kind_of(nn.Conv2d(3, 4, 1, padding="valid"))) == (4, 3)
    _, (tensors,), _ = built(CASES[0])
    assert not Adapter().fits(kind_of(nn.Linear(7, 6)), tensors)
    assert not beside.fits(kind_of(nn.Conv2d(5, 5, 3)), tensors)
    assert Adapter().widened({"up": (5, 2), "down": (2, 5)}, {"up": (6, 2), "down": (2, 6)}) is None
    assert not Adapter().goes_by_rows(kind_of(nn.MultiheadAttention(4, 2)), frozenset(), training=False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"activation": "step"}, "activation='step' is not known; choose one of relu, gelu, silu, tanh"),
        ({"scale": 0.0}, r"scale must be a finite number other than 0, which would add nothing, found 0\.0"),
        ({"scale": float("nan")}, "found nan"),
        ({"scale": True}, "found True"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Adapter(**settings)
