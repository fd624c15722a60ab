"""An index belongs to one bank's tasks, even after copies and moves; once a task is gone, it is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold.export import export

NAMES = list("abca")
WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda index: index,
    "clone": Tensor.clone,
    "copied": lambda index: index.to("cpu", copy=True),
    "slice": lambda index: index[:],
    "picked": lambda index: index[torch.arange(len(index))],
    "joined": lambda index: torch.cat([index[:2], index[2:]]),
    "detach": Tensor.detach,
    "view": lambda index: index.view(-1),
    "written into another": lambda index: torch.empty_like(index).copy_(index),
    "written": lambda index: index.copy_(index.clone()),
    "numpy": lambda index: torch.from_numpy(index.numpy().copy()),
    "deep copy": copy.deepcopy,
    "pickle": lambda index: pickle.loads(pickle.dumps(index)),
    "list": lambda index: torch.tensor(index.tolist()),
    "turned twice": lambda index: index.flip(0).flip(0),
}


@pytest.fixture
def model() -> tfold.MultiTask:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8))
    model = tfold.MultiTask(net, tfold.LoRA(rank=2, init="normal", layers="linear"), num_features=8).eval()
    for name in "abcd":
        model.add_task(name, head=3)
    return model


@pytest.fixture
def bank(model: tfold.MultiTask) -> tfold.Bank:
    return model.bank(list("abc"))


X = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def right(model: tfold.MultiTask, found: Tensor) -> None:
    torch.testing.assert_close(found, torch.stack([*model(X, task=NAMES)]))
    assert min(float((found[0] - model(X[:1], task=other)[0]).abs().max()) for other in "bcd") > 1e-2


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_an_index_on_its_way(model: tfold.MultiTask, bank: tfold.Bank, way: str) -> None:
    right(model, bank(X, WAYS[way](bank.index(NAMES))))
    old, other = WAYS[way](bank.index(NAMES)), WAYS[way](model.bank(list("cab")).index(NAMES))
    with pytest.raises(ValueError, match=r"index holds \d+, which this bank has not given; make it with the index"):
        bank(X, other)
    bank.remove("a")
    for taken in (False, True):
        if taken:
            bank.add(model["d"])
            assert bank.table.places["d"] == 0
        with pytest.raises(ValueError, match=r"index was made for task 'a', which is gone since"):
            bank(X, old)
        with pytest.raises(ValueError, match=r"index was made for task 'a', which is gone since"):
            bank(X, old, broadcast=True)
    bank.add(model["a"])
    with pytest.raises(ValueError, match=r"index was made for task 'a', which is gone since"):
        bank(X, old)
    right(model, bank(X, WAYS[way](bank.index(NAMES))))


@torch.no_grad()
def test_an_index_that_was_written_since(model: tfold.MultiTask, bank: tfold.Bank) -> None:
    """What a tensor remembers of its tasks is of the numbers that it had."""
    index = bank.index(list("cccc"))
    right(model, bank(X, index.copy_(bank.index(NAMES))))
    index[0] = 0
    with pytest.raises(ValueError, match="index holds 0, which this bank has not given"):
        bank(X, index)


@pytest.mark.parametrize("taken", [False, True])
@torch.no_grad()
def test_a_compiled_bank(model: tfold.MultiTask, bank: tfold.Bank, taken: bool) -> None:
    compiled, old = torch.compile(bank, backend="eager", fullgraph=True), bank.index(NAMES)
    right(model, compiled(X, old))
    bank.remove("a")
    if taken:
        bank.add(model["d"])
    other = model.bank(list("cab")).index(NAMES)
    for wrong in (old, old.clone(), other, torch.tensor([1, 1, 2, 2]), torch.full((4,), 99), torch.full((4,), -1)):
        with pytest.raises(RuntimeError, match="index is not of this bank, or one of its tasks is gone"):
            compiled(X, wrong)
    if not taken:
        bank.add(model["a"])
        right(model, compiled(X, bank.index(NAMES)))


@torch.no_grad()
def test_a_graph_that_is_exported(model: tfold.MultiTask, bank: tfold.Bank) -> None:
    """It takes places too, which files name, and no number that its table does not have."""
    index = bank.index(NAMES)
    right(model, bank(X, index))
    bank.remove("b")
    exported = torch.export.export(bank, (X, bank.index(list("acca")))).module()
    bank.add(model["d"])
    torch.testing.assert_close(exported(X, torch.tensor([0, 2, 2, 0])), bank(X, bank.index(list("acca"))))
    for wrong in (index, bank.index(list("aadd")), torch.tensor([0, 1, 2, 0]), torch.tensor([0, 3, 2, 0])):
        with pytest.raises(RuntimeError, match="index is not of this bank, or one of its tasks is gone"):
            exported(X, wrong)


@torch.no_grad()
def test_a_file(model: tfold.MultiTask, bank: tfold.Bank, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    stale = bank.index(NAMES)
    bank.remove("a")
    bank.add(model["d"])
    export(bank, [X, bank.index(list("dbcd"))], tmp_path / "bank.onnx")
    session = runtime.InferenceSession(tmp_path / "bank.onnx")
    wanted = bank(X, bank.index(list("dbcd"))).numpy()
    for index in (bank.index(list("dbcd")), torch.tensor([0, 1, 2, 0])):
        (found,) = session.run(None, {"image": X.numpy(), "index": index.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), torch.from_numpy(wanted))
    for wrong in (stale, torch.tensor([0, 1, 2, 3])):
        with pytest.raises(Exception, match=r"(?i)out of .*bound|indices element out of"):
            session.run(None, {"image": X.numpy(), "index": wrong.numpy()})
