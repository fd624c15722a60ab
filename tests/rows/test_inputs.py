"""Nested inputs: rows are counted and split at any depth, in one pass, task by task, and side by side."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

SIZE = 6
ROWS = ["b", "a", "b", "c"]


@dataclass
class Batch:
    x: Tensor
    name: str = "images"


@dataclass(frozen=True, slots=True)
class Frozen:
    x: Tensor


class Named(NamedTuple):
    x: Tensor


class Mine(dict[str, Any]):
    """torch does not know how it is nested."""


def first(value: Any) -> Tensor:
    """The first tensor in something."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (dict, UserDict, MappingProxyType)):
        return first(value["x"])
    return first(value.x) if hasattr(value, "x") else first(value[0])


class Net(nn.Module):
    """A network that unpacks its input, and whose rows go through windows."""

    def __init__(self) -> None:
        super().__init__()
        self.windows, self.out = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE)

    def forward(self, batch: Any) -> Tensor:
        x = first(batch)
        return self.out(self.windows(x.reshape(-1, SIZE)).tanh().reshape(len(x), -1, SIZE).mean(1))


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "dict": lambda x: {"x": x},
    "dict with a text": lambda x: {"x": x, "name": "images", "none": None},
    "nested dicts": lambda x: {"x": {"x": x}},
    "list": lambda x: [x],
    "tuple": lambda x: (x, 3),
    "dict of lists": lambda x: {"x": [x, x]},
    "list of dicts": lambda x: [{"x": x}],
    "ordered": lambda x: OrderedDict(x=x),
    "named tuple": Named,
    "dataclass": Batch,
    "frozen dataclass": Frozen,
    "dataclass in a dict": lambda x: {"x": Batch(x)},
    "dict in a dataclass": lambda x: Batch({"x": x}),  # type: ignore[arg-type]
    "user's dict": lambda x: UserDict(x=x),
    "user's dict in a dataclass": lambda x: [Batch(UserDict(x=x))],  # type: ignore[arg-type]
    "dict of a class of its own": lambda x: Mine(x=x),
    "read-only": lambda x: MappingProxyType({"x": x}),
}


def hugging_face() -> Iterator[tuple[str, Callable[[Tensor], Any]]]:
    try:
        from transformers import BatchEncoding, BatchFeature
        from transformers.modeling_outputs import ModelOutput
    except ImportError:
        return
    yield "batch encoding", lambda x: BatchEncoding({"x": x})
    yield "batch feature", lambda x: BatchFeature({"x": x})
    yield "model output", lambda x: ModelOutput(x=x)


FORMS.update(hugging_face())


def built() -> tfold.MultiTask:
    torch.manual_seed(0)
    model = tfold.MultiTask(Net(), tfold.LoRA(rank=2))
    for name in "abc":
        for tensor in model.add_task(name).parameters():
            tensor.data.normal_()
    return model.eval()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@torch.no_grad()
def test_each_row_is_its_task_s(form: Callable[[Tensor], Any]) -> None:
    model = built()
    folds = {name: model.fold(name) for name in "abc"}
    for who in (model, model.bank()):
        for shape in ((4, 2, SIZE), (4, 3, SIZE)):  # another form of inputs, in the same containers
            x = torch.randn(shape)
            given = form(x)
            for rows in ("checked", "separate", "checked"):
                who.rows = rows
                for one, name, row in zip(who(given, task=ROWS), ROWS, x, strict=True):
                    torch.testing.assert_close(one, folds[name](row[None])[0])
            for name, said in who(given, task=["c", "a"], broadcast=True).items():
                torch.testing.assert_close(said, folds[name](x))
            assert first(given) is x


@torch.no_grad()
def test_forms_are_known_by_what_containers_hold() -> None:
    """The same class with other shapes, or with one more tensor, is another form."""
    model = built()
    for given in (UserDict(x=torch.randn(2, SIZE)), UserDict(x=torch.randn(2, 3, SIZE)), UserDict(x=torch.randn(2, 6))):
        model(given, task=["a", "b"])
    assert len(model._runner.forms) == 2
    model(UserDict(x=torch.randn(2, SIZE), mask=torch.ones(2)), task=["a", "b"])
    assert len(model._runner.forms) == 3


NONE = (
    r"holds no tensor.* give the batch as tensors, which may lie in lists, dicts and dataclasses \(of texts their tok"
)
REFUSED: dict[str, tuple[Any, str]] = {
    "texts": (["a text", "another", "one more"], NONE),
    "texts in a dict": ({"x": ["a text", "another", "one more"]}, NONE),
    "other rows": ({"x": torch.randn(3, SIZE)}, "lists 2 names for a batch of 3 rows"),
    "a number": (Batch(torch.tensor(1.0)), "lists 2 names for a batch of no rows"),
}


@pytest.mark.parametrize(("given", "said"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_rows_is_refused(given: Any, said: str) -> None:
    model = built()
    for who in (model, model.bank()):
        with pytest.raises(ValueError, match=said):
            who(given, task=["a", "b"])


@pytest.mark.parametrize("head", [None, 3])
def test_no_rows(head: int | None) -> None:
    model = tfold.MultiTask(nn.Sequential(nn.Linear(SIZE, SIZE)), tfold.LoRA(rank=1), num_features=SIZE).eval()
    x = torch.randn(2, SIZE)
    for name in "ab":
        model.add_task(name, head=head)
    for who in (model, model.bank()):
        said = who(x[:0], task=[])
        assert len(said) == 0
        assert isinstance(said, list) if head else said.shape == (0, SIZE)
        with pytest.raises(ValueError, match="task is an empty list for a batch of 2 rows; give one per row"):
            who(x, task=[])
        with pytest.raises(ValueError, match="at least one name"):
            who(x[:0], task=[], broadcast=True)


class Dense(nn.Module):
    """A layer with a parameter of its own, which is given all that came before, in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(SIZE))

    def forward(self, held: list[Tensor]) -> Tensor:
        return self.gain * torch.stack(held, 1).mean(1)


class Growing(nn.Module):
    """Layers that see all before them, as in DenseNet and RDNet."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE)
        self.two, self.three = Dense(), Dense()

    def forward(self, x: Tensor) -> Tensor:
        held = [x, self.layer(x).tanh()]
        held.append(self.two(held))
        return self.out(self.three(held))


@torch.no_grad()
def test_layers_of_lists() -> None:
    torch.manual_seed(0)
    model = tfold.MultiTask(Growing(), tfold.FineTuning()).eval()
    for name in "abc":
        for parameter in model.add_task(name).parameters():
            parameter.add_(torch.randn_like(parameter))
    x = torch.randn(len(ROWS), SIZE)
    for run in (model, model.bank()):
        for said, row, name in zip(run(x, task=ROWS), x, ROWS, strict=True):
            torch.testing.assert_close(said, model(row[None], task=name)[0])
