"""Further ways to run a drawn network: hooks of the user's on it, and calls that must say what the model says."""

from __future__ import annotations

import copy
import pickle
import sys
import tempfile
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

import taskfold as tfold
from taskfold.export import export

Run = Callable[..., Any]


def _changed(value: Any) -> Any:
    return tree_map(lambda leaf: leaf * 0.5 if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf, value)


def _turned(value: Any) -> Any:
    return tree_map(lambda leaf: leaf.flip(0) if isinstance(leaf, Tensor) and leaf.dim() > 1 else leaf, value)


def _centred(_: nn.Module, __: object, output: Any) -> Any:
    return output - output.mean(0, keepdim=True) if isinstance(output, Tensor) else output


def _saved(module: nn.Module, _: object, output: Any) -> None:
    module.seen = output


def _counted(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    module.calls = getattr(module, "calls", 0) + len(inputs)  # type: ignore[assignment]


HOOKS: dict[str, Callable[[nn.Module, nn.Module], object]] = {
    "read": lambda network, layer: layer.register_forward_hook(lambda _, __, y: sum(map(len, tree_leaves(y))) and None),
    "save": lambda network, layer: layer.register_forward_hook(_saved),
    "count": lambda network, layer: layer.register_forward_pre_hook(_counted),
    "change": lambda network, layer: layer.register_forward_hook(lambda _, __, y: _changed(y)),
    "change before": lambda network, layer: layer.register_forward_pre_hook(lambda _, given: _changed(given)),
    "change all": lambda network, layer: network.register_forward_hook(lambda _, __, y: _changed(y)),
    "turn": lambda network, layer: (
        layer.register_forward_pre_hook(lambda _, given: _turned(given)),
        layer.register_forward_hook(lambda _, __, y: _turned(y)),
    ),
    "mix": lambda network, layer: layer.register_forward_hook(_centred),
}
"""What hooks do, on the network or one of its layers."""


def hook(network: nn.Module, kind: str, place: int) -> None:
    layers = [module for module in network.modules() if module is not network and not [*module.children()]]
    HOOKS[kind](network, layers[place % len(layers)])


def functional(model: tfold.MultiTask) -> Run:
    """The model's numbers are others, and the call is given those that hold."""
    held = {name: one.detach().clone() for name, one in [*model.named_parameters(), *model.named_buffers()]}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)
    return lambda *inputs, **named: torch.func.functional_call(model, held, inputs, named)


def pickled(model: tfold.MultiTask) -> Run:
    made = types.ModuleType(type(model.backbone).__module__)
    made.Network = type(model.backbone)  # type: ignore[attr-defined]
    sys.modules[made.__name__] = made
    try:
        return copy.deepcopy(pickle.loads(pickle.dumps(model)))
    finally:
        del sys.modules[made.__name__]


def filed(model: tfold.MultiTask) -> Run:
    """Tasks come from files, one of them into the place of another."""
    with tempfile.TemporaryDirectory() as folder:
        names = [*model.tasks]
        paths = [model.save_task(name, Path(folder) / f"{name}.safetensors") for name in names]
        other = tfold.MultiTask(model.backbone, model.method).train(model.training)
        other.load_task(paths[0], name=names[-1])
        other.remove_task(names[-1])
        for name, path in zip(names, paths, strict=True):
            other.load_task(path, name=name)
    return other


def changed(model: tfold.MultiTask) -> Run:
    """Before each batch a task comes, answers, and goes."""

    def run(*inputs: Any, task: Any) -> Any:
        model.add_task("z", head=2 if model[task[0]].head is not None else None)
        mine = copy.deepcopy(inputs)
        with torch.no_grad(), suppress(Exception):  # what the batch itself says is judged
            model(*mine, task=["z", *task[1:]])
        model.remove_task("z")
        return model(*inputs, task=task)

    return run


def viewed(model: tfold.MultiTask) -> Run:
    """A view is in the other mode."""

    def run(*inputs: Any, task: Any) -> Any:
        model.for_task(task[0]).train(not model.training)
        return model(*inputs, task=task)

    return run


def threaded(model: tfold.MultiTask) -> Run:
    """Four threads ask at once, for the batch and with its tasks in another order."""

    def run(*inputs: Any, task: Any) -> Any:
        lists = [task, task[::-1], task, task[1:] + task[:1]]
        grad, cast = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")

        def one(names: list[str]) -> Any:
            with torch.set_grad_enabled(grad), torch.autocast("cpu", torch.bfloat16, enabled=cast):
                return model(*copy.deepcopy(inputs), task=names)

        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(one, names) for names in lists]
            found = [one.result() for one in asked]
        return found[2]

    return run


def compiled(model: tfold.MultiTask) -> Run:
    torch.compiler.reset()
    return torch.compile(model, backend="eager", dynamic=False)


def compiled_bank(model: tfold.MultiTask) -> Run:
    torch.compiler.reset()
    return torch.compile(model.bank(), backend="eager")


def separate(model: tfold.MultiTask) -> Run:
    model.rows = "separate"
    return model


def exported(model: tfold.MultiTask) -> Run:
    """The bank's file, written from the first batch, answers all that it admits."""
    bank, written = model.bank(), []

    def run(*inputs: Any, task: Any) -> Any:
        index = bank.index(task)
        if not written:
            with tempfile.TemporaryDirectory() as folder:
                export(bank, [*inputs, index], path := Path(folder) / "bank.pt2")
                written.append(torch.export.load(path).module())
        said, heads = written[0](*inputs, index), [model[name].head for name in task]
        return said if heads[0] is None else [row[: head.out_features] for row, head in zip(said, heads, strict=True)]

    return run


WAYS: dict[str, tuple[Callable[[tfold.MultiTask], Run], float]] = {
    "functional": (functional, 1),
    "pickled": (pickled, 1),
    "filed": (filed, 1),
    "changed": (changed, 1),
    "viewed": (viewed, 1),
    "threaded": (threaded, 1),
    "separate": (separate, 0.5),
    "compiled": (compiled, 0.3),
    "compiled bank": (compiled_bank, 0.3),
    "exported": (exported, 0.3),
}
"""Further calls, and how often each is drawn."""
OF_BANKS = ("compiled bank", "exported")
"""Those that need evaluation mode."""
UNHOOKED = ("exported", "compiled", "compiled bank", "pickled")
"""Those that hooks keep from running: a graph has no place for them, and their functions are no part of a module."""
LAX = ("exported", "compiled", "compiled bank")
"""Those that torch may fail on by itself: their errors are no finds, wrong answers are."""
