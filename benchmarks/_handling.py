"""What `vision.py` times beside passes: tasks added and switched, packages imported, a bank that grows."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import torch
from _peers import CLASSES, HERE, backbone, lora_config, own, peft_loras
from _timing import wait
from _vision import Step

import taskfold as tfold

NETWORK, TASKS = "resnet18", 64
Taken = dict[str, list[float]]


def imports() -> dict[str, Step]:
    """Each in a fresh process, the interpreter's own start included."""

    def step(name: str) -> Step:
        def run() -> None:
            subprocess.run([sys.executable, "-c", f"import {name}"], check=True)

        return run

    return {f"import {name}": step(name) for name in ("torch", "taskfold", *HERE & {"peft"})}


def switching(rounds: int, device: str) -> tuple[Taken, Taken]:
    """Of 64 tasks, from one to the next: the switch by itself, and with a pass of one row of 64²."""
    names = [f"task{n}" for n in range(TASKS)]
    with torch.device(device):
        model, x = _tasks(TASKS), torch.randn(1, 3, 64, 64)
        peft = peft_loras(NETWORK, names) if "peft" in HERE else None
    bank = model.bank()

    def switched(name: str) -> None:
        peft.set_adapter(name, inference_mode=True)

    def passed(name: str) -> None:
        switched(name)
        peft(x)

    alone: dict[str, Callable[[str], object]] = {"bank.index": lambda name: bank.index([name])}
    whole: dict[str, Callable[[str], object]] = {
        "MultiTask": lambda name: model(x, task=name),
        "bank": lambda name: bank(x, bank.index([name])),
    }
    if peft is not None:
        alone["PEFT set_adapter"], whole["PEFT"] = switched, passed
    with torch.inference_mode():
        return _turns(alone, names, rounds), _turns(whole, names, rounds)


def _turns(calls: dict[str, Callable[[str], object]], names: list[str], rounds: int) -> Taken:
    """Mean seconds of a call over all names, in turns; the first is not counted."""
    taken: Taken = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for kind, call in calls.items():
            start = time.perf_counter()
            for name in names:
                call(name)
            wait()
            taken[kind].append((time.perf_counter() - start) / len(names))
    return {kind: times[1:] for kind, times in taken.items()}


def adding(before: int, rounds: int, device: str) -> Taken:
    """One more, where there are some: with us normalisation and head too."""
    with torch.device(device):
        model = _tasks(before)
    calls: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "MultiTask": (lambda: model.add_task("new", head=CLASSES), lambda: model.remove_task("new"))
    }
    if "peft" in HERE:
        with torch.device(device):
            peft, config = peft_loras(NETWORK, [f"task{n}" for n in range(before)]), lora_config(NETWORK)
        calls["PEFT"] = lambda: peft.add_adapter("new", config), lambda: peft.delete_adapter("new")
    taken: Taken = {kind: [] for kind in calls}
    for _ in range(rounds + 1):
        for kind, (add, remove) in calls.items():
            start = time.perf_counter()
            add()
            wait()
            taken[kind].append(time.perf_counter() - start)
            remove()
    return {kind: times[1:] for kind, times in taken.items()}


def _tasks(number: int) -> tfold.MultiTask:
    model = tfold.MultiTask(backbone(NETWORK), own(NETWORK)).eval()
    for n in range(number):
        model.add_task(f"task{n}", head=CLASSES)
    return model


def growing(tasks: int, device: str) -> dict[str, float]:
    """Adding tasks to a model and to a bank, what a bank holds, and finding a row in it."""
    with torch.device(device):
        model = _tasks(0)
    bank = tfold.Bank(model.backbone)
    seconds: list[float] = []
    numbers = 0
    for n in range(tasks):
        start = time.perf_counter()
        task = model.add_task(f"task{n}", head=CLASSES)
        bank.add(task)
        wait()
        seconds.append(time.perf_counter() - start)
        numbers += sum(t.numel() for t in [*task.parameters(), *task.buffers()] if t.is_floating_point())
        model.remove_task(f"task{n}")
    first, last = sum(seconds[1:51]) / 50, sum(seconds[-50:]) / 50
    start = time.perf_counter()
    for n in range(1000):
        bank.index([f"task{n % tasks}"])
    return {
        "tasks": tasks,
        "adding_ms": first * 1e3,
        "adding_last_to_first": last / first,
        "bytes_to_sum_of_tasks": bank.nbytes() / (4 * numbers),
        "switching_us": (time.perf_counter() - start) * 1e3,
    }
