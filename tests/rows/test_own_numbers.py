"""Rows that mix only by numbers from a task's own layers: the plain network shows no sign of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from .networks import Rows
from .test_rows import METHODS, built, rows_of

NAMES, FAR = list("abcab"), 0.999
ASKED: dict[str, Callable[[Tensor], object]] = {
    "bool": lambda far: (far > FAR).all(),
    "item": lambda far: far.min().item() > FAR,
    "list": lambda far: min(far.tolist()) > FAR,
    "equal": lambda far: torch.equal(far > FAR, torch.ones_like(far) > 0),
    "one row": lambda far: far[0] > FAR,
}


class Exits(Rows):
    """Ends early where all of its rows are sure."""

    def __init__(self, asked: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.asked = asked

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).tanh()
        return 3 * y if self.asked(y.abs().amax(1)) else self.second(y)


@pytest.mark.parametrize("asked", ASKED)
def test_paths_that_a_tasks_own_layers_choose(asked: str) -> None:
    """The plain network goes on, and so does the mixed batch: one task by itself ends early."""
    torch.manual_seed(0)
    model, x = built(Exits(ASKED[asked]), METHODS["lora"]), torch.randn(5, 6)
    for parameter in model["b"].sites.parameters():
        parameter.data.mul_(30)
    with torch.no_grad():
        for run in (model, model.bank()):
            with pytest.warns(UserWarning, match="task by task"):
                found = torch.stack(list(run(x, task=NAMES)))
            for name in "abc":
                mine = [n for n, one in enumerate(NAMES) if one == name]
                torch.testing.assert_close(found[mine], model(x[mine], task=name))


BRANCHES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "a layer of zeros": lambda zeros, y, rows: zeros if rows is y else zeros.roll(1, 0),
    "a mask that is empty": lambda zeros, y, rows: torch.where(y + zeros > 9, rows, y),
    "one that multiplies": lambda zeros, y, rows: ((y + zeros).abs() > 9).to(y) * rows,
}


class Branch(Rows):
    """A branch that puts out nothing in the plain network."""

    def __init__(self, branch: str, mixes: bool) -> None:
        super().__init__()
        self.branch, self.mixes, self.third = BRANCHES[branch], mixes, nn.Linear(8, 8)
        nn.init.zeros_(self.third.weight), nn.init.zeros_(self.third.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.second(y + self.branch(self.third(y), y, y.roll(1, 0) if self.mixes else y))


@pytest.mark.parametrize("branch", BRANCHES)
def test_rows_that_mix_where_a_tasks_own_layers_say_so(branch: str) -> None:
    model = built(Branch(branch, mixes=True), METHODS["lora"])
    for run in (model, model.bank()):
        with pytest.raises(ValueError, match="can't answer a mixed batch of these inputs: rows of its output"):
            run(torch.randn(5, 6), task=NAMES)


@pytest.mark.parametrize("branch", BRANCHES)
def test_branches_that_mix_nothing_are_served_in_one_pass(branch: str) -> None:
    model = built(Branch(branch, mixes=False), METHODS["lora"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for run in (model, model.bank()):
            for x in (torch.randn(5, 6), torch.randn(5, 6) / 9):
                torch.testing.assert_close(torch.stack(list(run(x, task=NAMES))), rows_of(model, x, NAMES))
    assert len(model._runner.forms) == 1


MASKED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "chooses": lambda mask, y: torch.where(mask, y.roll(1, 0), y),
    "multiplies": lambda mask, y: y + y.roll(1, 0) * mask,
    "multiplies in place": lambda mask, y: y + y.roll(1, 0).mul_(mask.float()),
    "fills": lambda mask, y: y + y.roll(1, 0).masked_fill(~mask, 0),
}


@pytest.mark.parametrize("does", MASKED.values(), ids=MASKED)
def test_a_mask_of_the_input_that_holds_for_no_row_yet(does: Callable[[Tensor, Tensor], Tensor]) -> None:
    """What it would let through is somebody else's row, which the first batch does not show."""

    class Masked(Rows):
        def forward(self, x: Tensor) -> Tensor:
            return self.second(does(x.mean(1, keepdim=True) > 2, self.first(x)))

    model, x = built(Masked(), METHODS["lora"]), torch.randn(5, 6)
    for run in (model, model.bank()):
        with pytest.warns(UserWarning, match="task by task"):
            run(x, task=NAMES)
        found = torch.stack(list(run(x + 3, task=NAMES)))
        for name in "abc":
            mine = [n for n, one in enumerate(NAMES) if one == name]
            torch.testing.assert_close(found[mine], model(x[mine] + 3, task=name))


DECIDED: dict[str, Callable[[Tensor], object]] = {
    "a maximum": lambda x: x.amax() > 1,
    "an item": lambda x: x.abs().max().item() > 1,
    "a mean": lambda x: x.abs().mean() > 1,
    "any": lambda x: (x > 1).any(),
    "all": lambda x: not (x < 1).all(),
    "a list": lambda x: max(x.amax().tolist(), 0) > 1,
    "a number in a bin": lambda x: int(x.amax().clamp(max=2)) > 1,
}


class Scaled(Rows):
    """Takes pictures of whole numbers, which it divides, and of fractions: the whole batch is one or the other."""

    def __init__(self, decided: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.decided = decided

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x / 255 if self.decided(x) else x).tanh())


@pytest.mark.parametrize("rows", [2, 3, 5, 6])
@pytest.mark.parametrize("decided", DECIDED)
def test_a_later_batch_decides_alike_though_some_of_its_rows_would_not(decided: str, rows: int) -> None:
    """In one batch each row by itself decides as all do; in the other all decide so because of a few."""
    torch.manual_seed(0)
    x, names = torch.rand(rows, 6) * 100 + 3, list("abcabc"[:rows])
    for run in (model := built(Scaled(DECIDED[decided]), METHODS["lora"]), model.bank()):
        few = torch.cat([x[:-1], x[-1:] / 200])
        for last in (x, few, x) if run is model else (few, x, few):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found = torch.stack(list(run(last, task=names)))
                except ValueError as error:
                    assert last is few and "can't answer" in str(error)  # noqa: PT017
                    continue
            for name in set(names):
                mine = [n for n, one in enumerate(names) if one == name]
                torch.testing.assert_close(found[mine], model(last[mine], task=name))


class Padded(Rows):
    """Leaves the mask out where nothing is padded, as transformers do."""

    def __init__(self, whole: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        if self.whole(seen) or self.whole(seen[:, :5]):
            return self.second(self.first(x).tanh())
        return self.second(self.first(x.masked_fill(~seen, 0.0)).tanh())


WHOLE: dict[str, Callable[[Tensor], Tensor]] = {
    "all": lambda seen: seen.all(),
    "a count": lambda seen: seen.sum() == seen.numel(),
}


@pytest.mark.parametrize("asked", WHOLE)
@pytest.mark.parametrize("whole", [(0,), (4,), (1, 5), (2, 3, 8), ()])
def test_rows_that_alone_need_no_mask_share_a_pass_with_those_that_do(whole: tuple[int, ...], asked: str) -> None:
    """No part that separates rows has such rows alone: one more pass of them shows that the mask changes nothing."""
    model = built(Padded(WHOLE[asked]), METHODS["lora"])
    x, names = torch.randn(9, 6), list("abcabcabc")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for now in (whole, (), (0, 6), range(9), whole):
            seen = torch.arange(6) < torch.tensor([[6] if n in now else [3] for n in range(9)])
            found = torch.stack(list(model(x, seen, task=names)))
            for name in "abc":
                mine = [n for n, one in enumerate(names) if one == name]
                torch.testing.assert_close(found[mine], model(x[mine], seen[mine], task=name))
