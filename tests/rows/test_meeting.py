"""Rows that mix inside a network: by position, or by value, in this batch or only in a later one."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from .networks import Rows
from .test_rows import METHODS, built, rows_of


class Neighbours(Rows):
    """Each row and the next, as the two pictures of a pair lie."""

    def forward(self, x: Tensor) -> Tensor:
        pairs = torch.tanh(self.first(x)).unflatten(0, (-1, 2))
        return self.second((pairs + pairs.mean(1, keepdim=True)).flatten(0, 1))


class Groups(Rows):
    """The spread of four rows at a time, as discriminators look at it."""

    def forward(self, x: Tensor) -> Tensor:
        groups = torch.tanh(self.first(x)).unflatten(0, (-1, min(4, len(x))))
        return self.second((groups + groups.std(1, correction=0, keepdim=True)).flatten(0, 1))


class Exchanged(Rows):
    """The two rows of a pair change places between two layers."""

    def forward(self, x: Tensor) -> Tensor:
        pairs = torch.tanh(self.first(x)).unflatten(0, (-1, 2))
        return self.second(pairs.flip(1).flatten(0, 1)).unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


class Alike(Rows):
    """Rows that are alike help each other."""

    def forward(self, x: Tensor) -> Tensor:
        alike = torch.relu(x @ x.mT / 6 - 1) * (1 - torch.eye(len(x)))
        y = torch.tanh(self.first(x))
        return self.second(y + alike @ y)


class Distant(Rows):
    """Rows that are near each other help each other, without a product of matrices."""

    def forward(self, x: Tensor) -> Tensor:
        near = torch.relu(3 - (x[:, None] - x[None]).square().sum(-1)) * (1 - torch.eye(len(x)))
        y = torch.tanh(self.first(x))
        return self.second(y + (near[..., None] * y[None]).sum(1))


class Attending(Rows):
    """Attention from row to row."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        return self.second(nn.functional.scaled_dot_product_attention(9 * x[None], 9 * x[None], y[None])[0])


@pytest.mark.parametrize(("network", "rows"), [(Neighbours, 4), (Neighbours, 8), (Groups, 8)])
def test_neighbours_that_meet_are_refused(network: type[Rows], rows: int) -> None:
    model, x, names = built(network(), METHODS["lora"]), torch.randn(rows, 6), list("abbaabba")[:rows]
    assert (rows_of(model, x, names) - rows_of(model, x, names[1:] + names[:1])).abs().max() > 0.1
    for run in (model, model.bank()):
        with pytest.raises(ValueError, match="can't answer a mixed batch"):
            run(x, task=names)


@pytest.mark.parametrize("rows", [4, 8])
def test_neighbours_that_change_places_are_told(rows: int) -> None:
    model, x, names = built(Exchanged(), METHODS["lora"]), torch.randn(rows, 6), list("abbaabba")[:rows]
    for run in (model, model.bank()):
        with pytest.warns(UserWarning, match="task by task.*layer 'second'"):
            found = torch.stack(list(run(x, task=names)))
        torch.testing.assert_close(found, rows_of(model, x, names))


@pytest.mark.parametrize("network", [Alike, Distant, Attending])
def test_rows_that_meet_in_a_later_batch_alone(network: type[Rows]) -> None:
    """The first batch has rows that have nothing to do with each other."""
    model, names = built(network(), METHODS["lora"]), list("abab")
    apart = torch.eye(6)[:4] * 4
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*task by task")
        torch.testing.assert_close(torch.stack(list(model(apart, task=names))), rows_of(model, apart, names))
    with pytest.raises(ValueError, match=r"rows of its output .* each depends on several"):
        model(torch.ones(4, 6) + 0.3 * torch.randn(4, 6), task=names)


def test_tokens_that_meet_within_a_row_do_not_count() -> None:
    """As many tokens as rows: attention within each row is one pass."""

    class Tokens(Rows):
        def forward(self, x: Tensor) -> Tensor:
            y = torch.tanh(self.first(x.unflatten(1, (4, 6))))
            return self.second((y @ y.mT).softmax(-1) @ y).mean(1)

    model, x, names = built(Tokens(), METHODS["lora"]), torch.randn(4, 24), list("abab")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = torch.stack(list(model(x, task=names)))
    torch.testing.assert_close(found, rows_of(model, x, names))


def test_numbers_that_leave_torch() -> None:
    class Elsewhere(Rows):
        def forward(self, x: Tensor) -> Tensor:
            y = torch.tanh(self.first(x))
            turned = np.from_dlpack(x.detach()).max() > 5
            return self.second(y.flip(0)).flip(0) if turned else self.second(y)

    model, x, names = built(Elsewhere(), METHODS["lora"]), torch.randn(4, 6), list("abab")
    for largest in (1.0, 9.0):
        x[0, 0] = largest
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*task by task")
            found = torch.stack(list(model(x, task=names)))
        torch.testing.assert_close(found, rows_of(model, x, names))
