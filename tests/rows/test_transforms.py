"""Transforms of `torch.func` within a network, and around a mixed batch."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, jacrev, jvp, vjp, vmap

from .networks import Rows
from .test_rows import METHODS, built, rows_of

NAMES = list("abcab")


class Energy(Rows):
    """What `torch.func` takes: the two layers."""

    def layers(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))

    def energy(self, x: Tensor) -> Tensor:
        return self.layers(x).square().sum()

    def widened(self, x: Tensor) -> Tensor:
        return torch.cat([x, x[:, :2]], 1)


class OfRows(Energy):
    """Each row by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return vmap(self.layers)(x)


class InChunks(Energy):
    def forward(self, x: Tensor) -> Tensor:
        return vmap(self.layers, chunk_size=2)(x)


class OfTokens(Energy):
    """Each token of all rows; there are as many tokens as rows."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.stack([x, -x, 2 * x, x.sin(), x.cos()], 1)
        return vmap(self.layers, in_dims=1, out_dims=1)(tokens).mean(1)


class Elsewhere(Energy):
    """Around no layer: one pass serves all tasks."""

    def forward(self, x: Tensor) -> Tensor:
        return self.second(vmap(lambda row: row.tanh() * row.sum())(self.first(x)))


class Gradient(Energy):
    def forward(self, x: Tensor) -> Tensor:
        return self.widened(grad(self.energy)(x))


class GradientOfRows(Energy):
    def forward(self, x: Tensor) -> Tensor:
        return self.widened(vmap(grad(self.energy))(x))


class Tangent(Energy):
    def forward(self, x: Tensor) -> Tensor:
        return jvp(self.layers, (x,), (x.sin(),))[1]


class Cotangent(Energy):
    def forward(self, x: Tensor) -> Tensor:
        y, back = vjp(self.layers, x)
        return y + self.widened(back(y)[0])


class Jacobian(Energy):
    def forward(self, x: Tensor) -> Tensor:
        return jacrev(lambda z: self.layers(z).sum(0))(x).movedim(1, 0).sum(-1)  # type: ignore[union-attr]


WITHIN = (OfRows, InChunks, OfTokens, Elsewhere, Gradient, GradientOfRows, Tangent, Cotangent, Jacobian)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")  # torch's own, of jvp
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("network", WITHIN)
def test_transforms_within_a_network(network: type[Energy], method: str) -> None:
    torch.manual_seed(0)
    model = built(network(), METHODS[method])
    for training in (False, True):
        model.train(training)
        for run in (model, model.bank())[: 2 - training]:
            for _ in range(2):
                x = torch.randn(5, 6)
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always", UserWarning)
                    found = torch.stack(list(run(x, task=NAMES)))
                torch.testing.assert_close(found, rows_of(model, x, NAMES))
                assert network is not Elsewhere or not said


@pytest.mark.parametrize("way", [vmap, lambda run: vmap(run, in_dims=1)])
def test_vmap_around_a_mixed_batch(way: Any) -> None:
    class Plain(Energy):
        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)

    torch.manual_seed(0)
    model, given = built(Plain(), METHODS["lora"]), torch.randn(5, 5, 6)
    for run in (model, model.bank()):
        with pytest.raises(ValueError, match=r"torch\.vmap around a mixed batch that has never run: .*run one of"):
            way(lambda x, run=run: torch.stack(list(run(x, task=NAMES))))(given)
        run(given[0], task=NAMES)
        found = way(lambda x, run=run: torch.stack(list(run(x, task=NAMES))))(given)
        batches = given if way is vmap else given.transpose(0, 1)
        torch.testing.assert_close(found, torch.stack([rows_of(model, x, NAMES) for x in batches]))


class Words(nn.Module):
    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(20, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.words(x)).relu().mean(1)


@pytest.mark.parametrize("training", [False, True])
def test_equal_rows_are_looked_at_once(training: bool) -> None:
    """Token numbers can't be made to differ; batches in which other rows are equal are looked at by themselves."""
    model, asked = built(Words(), METHODS["lora"]).train(training), []
    model._runner.hooks.now = lambda now=model._runner.hooks.now: (asked.append(1), now())[1]
    first, second = torch.full((5, 4), 4), torch.full((5, 4), 7)
    looks: list[object] = []
    for x in (first, second, torch.tensor([4, 4, 4, 7, 7])[:, None].expand(5, 4), first, torch.randint(20, (5, 4))):
        before = dict(model._runner.equal.get(next(iter(model._runner.equal), None), {}))
        torch.testing.assert_close(torch.stack(list(model(x, task=NAMES))), rows_of(model, x, NAMES))
        looks.append(len(next(iter(model._runner.equal.values()))) - len(before))
    assert looks == [1, 0, 1, 0, 0]
    assert len(model._runner.forms) == 1
    asked.clear()
    model(first, task=NAMES)
    assert asked == [1]
