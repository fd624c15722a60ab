"""The laws of a method on a network: one function, which returns the outcome."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import taskfold as tfold
from taskfold.testing._compare import check_close, check_same, distance

from .subject import NothingShownError, Zoo, state, tensors_of

OTHER = {"a": "b", "b": "a"}
MIXTURES = ((1, "baab"), (2, "abbb"))
"""Random numbers of the input, and whose its rows are; the second batch meets what the first has taught."""
SLOWER = re.compile(r"answers mixed batches task by task, which is slower: (.*)", re.DOTALL)
ALONE = re.compile(r"runs tasks one after another, since one pass cannot serve several: (.*)", re.DOTALL)
Law = Callable[[Zoo, tfold.MultiTask], str]


class RefusedError(Exception):
    """The library says by name that it can't."""


def named(zoo: Zoo, error: Exception, model: Any) -> RefusedError:
    """A refusal, if it names the network or a layer of it; else the error is a fault."""
    said = str(error)
    kinds = {type(zoo.network).__name__}
    paths = [path for path, _ in zoo.network.named_modules() if path]
    if any(kind in said for kind in kinds) or any(f"'{path}'" in said for path in paths):
        return RefusedError(said)
    raise error


def noticed(run: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What a function returns, and the warnings that it gives."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made = run()
    return made, [str(one.message) for one in said if issubclass(one.category, UserWarning)]


def fold(zoo: Zoo, model: tfold.MultiTask) -> str:
    """A fold says what its task says."""
    try:
        folded = model.fold("a").eval()
    except ValueError as error:
        raise named(zoo, error, model) from error
    wanted, other = (zoo.alone(model, 2, name) for name in "ab")
    args, kwargs = zoo.given(2)
    with torch.no_grad():
        found = zoo.rows(folded(*args, **kwargs))
    check_close("the fold", found, wanted, other, zoo.tolerance)
    return "holds"


def mixed(zoo: Zoo, model: tfold.MultiTask) -> str:
    """A mixed batch is its tasks one by one, whatever came before it; or it is refused by name."""
    return _mixed(zoo, model, model)


def _mixed(zoo: Zoo, model: tfold.MultiTask, run: Any) -> str:
    how = "in one pass"
    for seed, rows in MIXTURES:
        try:
            found, said = noticed(lambda seed=seed, rows=rows: zoo.ask(run, seed, task=list(rows)))
        except ValueError as error:
            raise named(zoo, error, model) from error
        for n, name in enumerate(rows):
            one, other = (zoo.alone(model, seed, task)[n] for task in (name, OTHER[name]))
            check_close(f"row {n} of the batch {rows!r}", zoo.row(found, n), one, other, zoo.tolerance)
        how = next((f"task by task: {m[1]}" for one in said if (m := SLOWER.search(one))), how)
    return how


def broadcast(zoo: Zoo, model: tfold.MultiTask) -> str:
    """A broadcast is its tasks one by one."""
    return _broadcast(zoo, model, model)


def _broadcast(zoo: Zoo, model: tfold.MultiTask, run: Any) -> str:
    try:
        found, said = noticed(lambda: zoo.ask(run, 2, task=["b", "a"], broadcast=True))
    except ValueError as error:
        raise named(zoo, error, model) from error
    for name in "ab":
        made, wanted, other = zoo.rows(found[name]), zoo.alone(model, 2, name), zoo.alone(model, 2, OTHER[name])
        check_close(f"broadcast, task {name!r}", made, wanted, other, zoo.tolerance)
    return next((f"one by one: {m[1]}" for one in said if (m := ALONE.search(one))), "in one pass")


def bank(zoo: Zoo, model: tfold.MultiTask) -> str:
    """A bank says what the model says, in mixed batches and in broadcasts; or it refuses by name."""
    try:
        held = model.bank()
    except ValueError as error:
        raise named(zoo, error, model) from error
    how = _mixed(zoo, model, held)
    _broadcast(zoo, model, held)
    return how


def training(zoo: Zoo, model: tfold.MultiTask) -> str:
    """A step of one task moves nothing of the backbone and of the other task, and something of its own."""
    before = {"the backbone": state(model.backbone), "the other task": state(model["b"]), "own": state(model["a"])}
    parameters = [p for p in model["a"].parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-3)
    torch.manual_seed(0)  # some networks draw which of their patches they look at
    wanted = zoo.said(model, 2, "b")
    model.train()
    args, kwargs = zoo.given(2, training=True)
    try:
        output = model(*args, **kwargs, task="a")
        sum(leaf.square().mean() for leaf in tensors_of(output) if leaf.requires_grad).backward()  # type: ignore[union-attr]
    except RuntimeError as error:  # a layer that would write the backbone, or runs again by itself
        raise named(zoo, error, model) from error
    optimizer.step()
    model.eval()
    check_same("the backbone, when a task trains", state(model.backbone), before["the backbone"])
    check_same("another task, when one trains", state(model["b"]), before["the other task"])
    torch.manual_seed(0)
    check_same("another task's output, when one trains", {"y": zoo.said(model, 2, "b")}, {"y": wanted})
    moved = state(model["a"])
    assert any(not torch.equal(moved[key], was) for key, was in before["own"].items()), "the task stays as it was"
    return "holds"


def hooks(zoo: Zoo, model: tfold.MultiTask) -> str:
    """A hook that somebody sets on an inner layer acts as it does on the fold, and not after it is removed."""
    where = _inner(zoo, model.backbone)
    before, calls = zoo.alone(model, 1, "a"), [0]

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        calls[0] += 1
        return tree_map(larger, output)

    def larger(leaf: Any) -> Any:
        return leaf * 1.5 if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

    try:
        folded = model.fold("a").eval()
    except ValueError as error:
        raise named(zoo, error, model) from error
    handle = model.backbone.get_submodule(where).register_forward_hook(hook)
    found = zoo.said(model, 1, "a")
    handle.remove()
    assert calls[0], f"a hook on {where!r} is never called"
    args, kwargs = zoo.given(1)
    with torch.no_grad():
        plain = zoo.rows(folded(*args, **kwargs))
        folded.get_submodule("backbone." * (zoo.width > 0) + where).register_forward_hook(hook)
        wanted = zoo.rows(folded(*args, **kwargs))
    if distance(plain, before, zoo.tolerance) <= 1:
        check_close(f"with a hook on {where!r}", found, wanted, None, zoo.tolerance)
    else:  # the fold is no measure; another law says so
        assert distance(found, before, zoo.tolerance) > 1, f"a hook on {where!r} changes nothing"
    check_close("after the hook", zoo.said(model, 1, "a"), before, None, zoo.tolerance)
    return "holds"


def _inner(zoo: Zoo, network: nn.Module) -> str:
    """The layer in the middle of those that a pass calls."""
    called: list[str] = []

    def note(path: str) -> Callable[..., None]:
        return lambda *_: called.append(path)

    handles = [
        module.register_forward_hook(note(path))
        for path, module in network.named_modules()
        if path and not module._modules and any(True for _ in module.parameters(recurse=False))
    ]
    zoo.ask(network, 1)
    for handle in handles:
        handle.remove()
    return called[len(called) // 2]


LAWS: dict[str, Law] = {law.__name__: law for law in (mixed, fold, broadcast, bank, hooks, training)}


def tried(zoo: Zoo) -> dict[str, str]:
    """By law: `holds` or how it is done; `refused: …`, `not shown: …`, `fault: …`."""
    try:
        zoo.settle()
        model = zoo.model()
    except NothingShownError as error:
        return dict.fromkeys(LAWS, f"not shown: {error}")
    found = {}
    for name, law in LAWS.items():
        try:
            found[name] = law(zoo, model)
        except RefusedError as error:
            found[name] = f"refused: {error}"
        except AssertionError as error:
            kind = "not shown" if "shows nothing" in str(error) else "fault"
            unused = f" (a pass never calls {zoo.unused})" if zoo.unused and name == "fold" else ""
            found[name] = f"{kind}: {error}{unused}"
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            found[name] = f"fault: {type(error).__name__}: {error} (in {last.name})"
    return found
