"""A forward patched onto an instance: the task's layers run in it, folded too, or it is refused by name."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

SIZE = 6
X = torch.randn(4, SIZE, generator=torch.Generator().manual_seed(1))
old: Any = None
held: Any = None


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIZE, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).tanh()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.out = Block(), nn.Linear(SIZE, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.block(x))


def built() -> tuple[nn.Module, tfold.MultiTask]:
    torch.manual_seed(0)
    net = Net()
    model = tfold.MultiTask(net, tfold.LoRA(rank=2))
    for name in "ab":
        for tensor in model.add_task(name).parameters():
            tensor.data.normal_()
    return net, model.eval()


def by_autocast(module: nn.Module) -> None:
    module.forward = torch.autocast("cpu", torch.bfloat16, enabled=False)(module.forward)


def by_closure(module: nn.Module) -> None:
    before = module.forward
    module.forward = lambda x: 1 * before(x)


def by_default(module: nn.Module) -> None:
    module.forward = lambda x, before=module.forward: before(x)


def by_partial(module: nn.Module) -> None:
    module.forward = functools.partial(lambda before, x: before(x), module.forward)


def by_weak_reference(module: nn.Module) -> None:
    me: Any = weakref.ref(module)
    module.forward = lambda x: type(me()).forward(me(), x)


def global_method(x: Tensor) -> Tensor:
    return old(x) * 7


def global_module(x: Tensor) -> Tensor:
    return type(held).forward(held, x) * 7


def through_another(x: Tensor) -> Tensor:
    return global_method(x)


PATCHES = [by_autocast, by_closure, by_default, by_partial, by_weak_reference]


@pytest.mark.parametrize("where", ["", "block"])
@pytest.mark.parametrize("patch", PATCHES)
@torch.no_grad()
def test_the_task_s_layers_run(patch: Callable[[nn.Module], None], where: str) -> None:
    net, model = built()
    wanted = {name: model(X, task=name) for name in "ab"}
    plain = net(X)
    patch(net.get_submodule(where))
    for name in "ab":
        assert not torch.allclose(wanted[name], plain)
        torch.testing.assert_close(model(X, task=name), wanted[name])
        torch.testing.assert_close(model.fold(name)(X), wanted[name])
    torch.testing.assert_close(net(X), plain)
    for who in (model, model.bank()):
        for row, name, one in zip(range(4), "abba", who(X, task=list("abba")), strict=True):
            torch.testing.assert_close(one, wanted[name][row])


@pytest.mark.parametrize("where", ["", "block"])
@pytest.mark.parametrize("function", [global_method, global_module, through_another, lambda x: [old(x) for _ in "a"]])
@torch.no_grad()
def test_what_a_global_variable_holds_is_refused(
    function: Callable[[Tensor], Any], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, model = built()
    bank, module = model.bank(), net.get_submodule(where)
    monkeypatch.setitem(globals(), "old", module.forward)
    monkeypatch.setitem(globals(), "held", module)
    module.forward = function  # type: ignore[method-assign]
    said = (
        r"(the network|module 'block') \((Net|Block)\) has a forward patched .* global variable '(old|held)'.*partial"
    )
    calls: list[Callable[[], Any]] = [
        lambda: model(X, task="a"),
        lambda: model(X, task=["a", "b", "a", "b"]),
        lambda: bank(X, task=["a", "b", "a", "b"]),
        lambda: bank(X, task=["a", "b"], broadcast=True),
        lambda: model.fold("a"),
        lambda: model(X, task="a"),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=said):
            call()
    del module.forward
    torch.testing.assert_close(model(X, task="a"), model.fold("a")(X))


@torch.no_grad()
def test_a_function_that_calls_no_module_is_the_user_s() -> None:
    net, model = built()
    net.block.forward = lambda x: x.tanh()  # type: ignore[union-attr,method-assign,operator]
    with pytest.warns(UserWarning, match="never called"):
        said = model(X, task="a")
    torch.testing.assert_close(said, model.fold("a")(X))
