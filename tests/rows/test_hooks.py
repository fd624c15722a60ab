"""Hooks that change their arguments: each row is answered as its own task alone; observing hooks see one pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

from .networks import Rows
from .test_settings import built


class Plain(Rows):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).tanh())


def _written(_: nn.Module, args: tuple[Tensor, ...]) -> None:
    args[0].copy_(args[0].flip(0).clone())


def _as_data(_: nn.Module, __: object, output: Tensor) -> None:
    output.data.copy_(output.data.flip(0).clone())


HOOKS: dict[str, Callable[[nn.Module, nn.Module], object]] = {
    "exchanged": lambda net, layer: (
        layer.register_forward_pre_hook(lambda _, args: (args[0].roll(1, 0),)),
        layer.register_forward_hook(lambda _, __, y: y.roll(-1, 0)),
    ),
    "with names": lambda net, layer: (
        layer.register_forward_pre_hook(lambda _, args, named: ((args[0].flip(0),), named), with_kwargs=True),
        layer.register_forward_hook(lambda _, __, ___, y: y.flip(0), with_kwargs=True, always_call=True),
    ),
    "written": lambda net, layer: (layer.register_forward_pre_hook(_written), layer.register_forward_hook(_as_data)),
    "around": lambda net, layer: (
        net.register_forward_pre_hook(lambda _, args: args[0].flip(0)),
        net.register_forward_hook(lambda _, __, y: y.flip(0)),
    ),
    "the input": lambda net, layer: layer.register_forward_hook(lambda _, args, __: args[0]),
    "scaled": lambda net, layer: layer.register_forward_hook(lambda _, __, y: 2 * y),
}


@pytest.mark.filterwarnings("ignore:.*answers mixed batches task by task")
@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", HOOKS)
def test_hooks_that_change_rows(name: str, training: bool, when: str, inference: bool) -> None:
    net = Plain()
    model = built(net).train(training)
    x, names = torch.randn(5, 6), list("abbab")
    runs = (model,) if training else (model, model.bank())
    with torch.inference_mode(inference), torch.set_grad_enabled(training and not inference):
        if when == "before":
            HOOKS[name](net, net.second)
        for run in runs:
            run(x.clone(), task=names)
        if when == "after":
            HOOKS[name](net, net.second)
        given = x.clone()
        wanted = torch.stack([model(x[n : n + 1].clone(), task=task)[0] for n, task in enumerate(names)])
        for run in runs:
            torch.testing.assert_close(torch.stack(list(run(given, task=names))), wanted)
            torch.testing.assert_close(given, x)


@pytest.mark.parametrize("training", [False, True])
def test_hooks_that_look_see_one_pass(training: bool) -> None:
    net = Plain()
    model = built(net).train(training)
    x, names, sizes = torch.randn(5, 6), list("abbab"), []
    net.second.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    net.second.register_forward_hook(lambda _, __, y: y)
    net.register_forward_hook(lambda _, args, named, y: sizes.append(len(y)), with_kwargs=True, always_call=True)
    for _ in range(2):
        model(x, task=names)
    assert sizes == [5] * 4


def test_one_pass_again_when_hooks_are_removed() -> None:
    net = Plain()
    model = built(net).eval()
    x, names, sizes = torch.randn(5, 6), list("abbab"), []
    handle = net.second.register_forward_hook(lambda _, __, y: 2 * y)
    with pytest.warns(UserWarning, match="task by task.* module 'second' has a hook that changes what it is given"):
        model(x, task=names)
    handle.remove()
    net.first.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    wanted = [model(x[n : n + 1], task=task)[0] for n, task in enumerate(names)]
    sizes.clear()
    torch.testing.assert_close(torch.stack(list(model(x, task=names))), torch.stack(wanted))
    assert sizes == [5]


def test_broadcast_runs_hooks_on_each_tasks_rows() -> None:
    net = Plain()
    model = built(net).eval()
    x = torch.randn(5, 6)
    net.second.register_forward_pre_hook(lambda _, args: (args[0].roll(1, 0),))
    found = model(x, task=["a", "b"], broadcast=True)
    for name in "ab":
        torch.testing.assert_close(found[name], model(x, task=name))


def _through_numpy(_: nn.Module, __: object, output: Tensor) -> None:
    output.detach().numpy()[:] = output.detach().numpy()[::-1].copy()


def _doubled(_: nn.Module, __: object, output: Tensor) -> None:
    output.detach().numpy()[:] *= 2


def _as_doubled_data(_: nn.Module, __: object, output: Tensor) -> None:
    output.data.mul_(2)


SERVED: dict[str, Callable[[nn.Module, nn.Module], object]] = {
    "through numpy": lambda _, layer: layer.register_forward_hook(_doubled),
    "through data": lambda _, layer: layer.register_forward_hook(_as_doubled_data),
    "transposed and back": lambda net, _: (
        net.register_forward_hook(lambda _, __, y: y.T),
        net.register_forward_hook(lambda _, __, y: 2 * y.T),
    ),
    "noisy": lambda _, layer: layer.register_forward_hook(lambda _, __, y: y + 0 * torch.randn_like(y)),
}


@pytest.mark.filterwarnings("ignore:.*answers mixed batches task by task")
@pytest.mark.parametrize("name", SERVED)
@torch.no_grad()
def test_hooks_that_write_out_of_sight(name: str) -> None:
    net = Plain()
    model = built(net).eval()
    x, names = torch.randn(5, 6), list("abbab")
    SERVED[name](net, net.second)
    for run in (model, model.bank(), model):
        wanted = torch.stack([model(x[n : n + 1], task=task)[0] for n, task in enumerate(names)])
        torch.testing.assert_close(torch.stack(list(run(x, task=names))), wanted)


MIXING: dict[str, Callable[[nn.Module, nn.Module], object]] = {
    "the output in another order": lambda net, _: net.register_forward_hook(lambda _, __, y: y.flip(0)),
    "a layer in another order": lambda _, layer: layer.register_forward_hook(lambda _, __, y: y.roll(1, 0)),
    "less their mean": lambda _, layer: layer.register_forward_hook(lambda _, __, y: y - y.mean(0)),
    "through numpy": lambda _, layer: layer.register_forward_hook(_through_numpy),
}


@pytest.mark.filterwarnings("ignore:.*answers mixed batches task by task")
@pytest.mark.parametrize("name", MIXING)
@torch.no_grad()
def test_hooks_that_mix_rows_are_refused(name: str) -> None:
    net = Plain()
    model = built(net).eval()
    x, names = torch.randn(5, 6), list("abbab")
    MIXING[name](net, net.second)
    for run in (model, model.bank(), model):
        with pytest.raises(ValueError, match=r"while (the network|module 'second') has a hook that changes .*rows of"):
            run(x, task=names)


@torch.no_grad()
def test_an_output_that_a_hook_transposes_is_put_together_along_its_rows() -> None:
    net = Plain()
    model = tfold.MultiTask(net, tfold.LoRA(rank=2, layers="linear", init="normal")).eval()
    x, names = torch.randn(5, 6), list("abbab")
    for name in "ab":
        model.add_task(name)
    net.register_forward_hook(lambda _, __, y: y.T)
    with pytest.warns(UserWarning, match="task by task.* the network has a hook that changes what it is given"):
        found = model(x, task=names)
    for n, name in enumerate(names):
        torch.testing.assert_close(found[:, n], model(x, task=name)[:, n])
