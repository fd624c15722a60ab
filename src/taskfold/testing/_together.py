"""Laws of several tasks: in one batch, on one batch, in a bank and in threads each gives its outputs as alone."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from ..layers import sharing_passes
from ..model import MultiTask
from ._compare import DOUBLE, check_close, check_same
from ._subject import Subject, floating

ROWS = ["b", "a", "a", "b", "a", "b", "a"]
OTHER = {"a": "b", "b": "a"}
GRADIENT = 2 * DOUBLE  # rounding through 50 layers with BatchNorm of few rows gives 1.1e-7
Ways = Callable[[MultiTask, Tensor], dict[str, Tensor]]


@torch.no_grad()
def mixed(subject: Subject) -> None:
    """Each row of a mixed batch is its own task's; a batch of one task is that task's, bit for bit."""
    model, x, rows = subject.asked(), subject.inputs(4), ROWS[:4]
    alone = {name: model(x, task=name) for name in "ab"}
    found = model(x, task=rows)
    for n, name in enumerate(rows):
        check_close(f"row {n} of a mixed batch", found[n], alone[name][n], alone[OTHER[name]][n])
    check_same("a mixed batch of one task", {"a": torch.stack(model(x, task=["a"] * 4))}, {"a": alone["a"]})


def _alone(model: MultiTask, x: Tensor) -> dict[str, Tensor]:
    return {name: model(x, task=name) for name in "ab"}


def _broadcast(model: MultiTask, x: Tensor) -> dict[str, Tensor]:
    return model(x, task=["a", "b"], broadcast=True)


def _alone_rows(model: MultiTask, x: Tensor) -> dict[str, Tensor]:
    return {name: model(x[[n for n, row in enumerate(ROWS) if row == name]], task=name) for name in "ab"}


def _mixed_rows(model: MultiTask, x: Tensor) -> dict[str, Tensor]:
    found = model(x, task=ROWS)
    return {name: torch.stack([y for y, row in zip(found, ROWS, strict=True) if row == name]) for name in "ab"}


def gradients(subject: Subject) -> None:
    """A broadcast and a mixed batch are the tasks one by one in value, gradient and running statistics."""
    first, x = subject.stirred("a", "b").double(), floating(subject.inputs(7))
    begun = {key: buffer.clone() for key, buffer in first.named_buffers() if key.startswith("tasks.")}
    for together, alone, training, what in (
        (_broadcast, _alone, False, "broadcast"),
        (_broadcast, _alone, True, "broadcast in training"),
        (_mixed_rows, _alone_rows, True, "mixed batch in training"),
    ):
        wanted, made = _learned(first, alone, x, training), _learned(first, together, x, training)
        for kind, mine, theirs in zip(("output", "gradient", "buffer"), wanted, made, strict=True):
            odd = sorted(mine.keys() ^ theirs.keys())
            assert not odd, f"{what}: {kind} {odd[:1]} is there in one way only"
            for key, tensor in mine.items():
                # Two tasks may get the same batch at a layer: statistics are compared with those before the pass.
                before = begun.get(key) if training and tensor.is_floating_point() else None
                other = before if kind == "buffer" else _other(kind, key, mine)
                tolerance = GRADIENT if kind == "gradient" else DOUBLE
                check_close(f"{what}: {kind} {key!r}", theirs[key], tensor, other, tolerance)


def _learned(model: MultiTask, run: Ways, x: Tensor, training: bool) -> tuple[dict[str, Tensor], ...]:
    """Outputs, gradients and buffers of a pass; the model is restored."""
    before = {key: buffer.clone() for key, buffer in model.named_buffers()}
    model.train(training)
    with sharing_passes(True):
        found = run(model, x)
    # Scaled outputs give gradients of one size, so that one tolerance fits all networks.
    size = max(1.0, *(output.detach().abs().max().item() for output in found.values()))
    torch.stack([(output / size).square().sum() for output in found.values()]).sum().backward()
    gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    buffers = {key: buffer.clone() for key, buffer in model.named_buffers()}
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        for key, buffer in model.named_buffers():
            if not torch.equal(buffer, before[key]):
                buffer.copy_(before[key])
    return found, gradients, buffers


def _other(kind: str, key: str, tensors: dict[str, Tensor]) -> Tensor | None:
    """The other task's tensor; None: no difference is needed."""
    if kind == "output":
        return tensors[OTHER[key]]
    room, _, rest = key.partition(".")
    largest = max(float(one.abs().max()) for one in tensors.values() if one.is_floating_point() and one.numel())
    if room == "inventory":
        return torch.zeros_like(tensors[key]) if kind == "gradient" and _counts(tensors[key], largest) else None
    if room != "tasks" or not tensors[key].is_floating_point():
        return None
    name, _, leaf = rest.partition(".")
    other = tensors.get(f"tasks.{OTHER[name]}.{leaf}")
    return other if other is not None and (_counts(other, largest) or _counts(tensors[key], largest)) else None


def _counts(tensor: Tensor, largest: float) -> bool:
    """Whether a tensor is more than rounding, unlike the gradient of a bias right before BatchNorm.

    The rounding error of such a gradient grows with the `largest` gradient of the pass.
    """
    return bool(tensor.abs().max() > 1e-3 * DOUBLE * max(1.0, largest))


@torch.no_grad()
def bank(subject: Subject) -> None:
    """A bank gives its tasks' outputs, or is refused by name.

    In a mixed batch, and with `broadcast` in one pass that splits or side by side.
    """
    model, x, rows = subject.asked(), subject.inputs(4), ROWS[:4]
    alone = {name: model(x, task=name) for name in "ab"}
    try:
        held = model.bank()
    except ValueError as refusal:
        said = str(refusal)
        if "task 'a'" not in said or "layer '" not in said:
            raise AssertionError(f"a bank is refused without the task's and the layer's name: {said}") from refusal
        return
    for n, found in enumerate(held(x, task=rows)):
        check_close(f"row {n} of a bank's batch", found, alone[rows[n]][n], alone[OTHER[rows[n]]][n])
    for one_pass in (True, False):
        with sharing_passes(one_pass):
            for name, found in held(x, task=["b", "a"], broadcast=True).items():
                check_close(f"a bank's broadcast, task {name!r}", found, alone[name], alone[OTHER[name]])


def threads(subject: Subject) -> None:
    """Two threads that run at once get their own outputs, bit for bit."""
    model, x = subject.asked(), subject.inputs(2)
    before, wrong, start = torch.get_num_threads(), list[str](), threading.Barrier(2)
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            wanted = {name: model(x, task=name) for name in "ab"}
        for name in "ab":
            check_close(f"task {name!r}", wanted[name], wanted[name], wanted[OTHER[name]])

        @torch.no_grad()
        def ask(name: str) -> None:
            torch.set_num_threads(1)
            start.wait()
            wrong.extend(name for _ in range(5) if not torch.equal(model(x, task=name), wanted[name]))

        asking = [threading.Thread(target=ask, args=(name,)) for name in "ab"]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
    finally:
        torch.set_num_threads(before)
    assert not wrong, f"{len(wrong)} of 10 answers of two threads are another's"
