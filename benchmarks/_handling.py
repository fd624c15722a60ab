"""What `vision.py` times beside passes: tasks added and switched, packages imported, a bank that grows."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import torch
from _peers import CLASSES, backbone, lora_config, own, peft_loras
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

    return {f"import {name}": step(name) for name in ("torch", "taskfold", "peft")}


def switching(rounds: int) -> tuple[Taken, Taken]:
    """Of 64 tasks, from one to the next: the switch by itself, and with a pass of one row of 64²."""
    names = [f"task{n}" for n in range(TASKS)]
    model, peft, x = _tasks(TASKS), peft_loras(NETWORK, names), torch.randn(1, 3, 64, 64)
    bank = model.bank()

    def switched(name: str) -> None:
        peft.set_adapter(name, inference_mode=True)

    def passed(name: str) -> None:
        switched(name)
        peft(x)

    alone = {"bank.index": lambda name: bank.index([name]), "PEFT set_adapter": switched}
    whole = {
        "MultiTask": lambda name: model(x, task=name),
        "bank": lambda name: bank(x, bank.index([name])),
        "PEFT": passed,
    }
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
            taken[kind].append((time.perf_counter() - start) / len(names))
    return {kind: times[1:] for kind, times in taken.items()}


def adding(before: int, rounds: int) -> Taken:
    """One more, where there are some: with us normalisation and head too."""
    model, peft, config = _tasks(before), peft_loras(NETWORK, [f"task{n}" for n in range(before)]), lora_config(NETWORK)
    taken: Taken = {"MultiTask": [], "PEFT": []}
    for _ in range(rounds + 1):
        start = time.perf_counter()
        model.add_task("new", head=CLASSES)
        between = time.perf_counter()
        peft.add_adapter("new", config)
        taken["PEFT"].append(time.perf_counter() - between)
        taken["MultiTask"].append(between - start)
        model.remove_task("new")
        peft.delete_adapter("new")
    return {kind: times[1:] for kind, times in taken.items()}


def _tasks(number: int) -> tfold.MultiTask:
    model = tfold.MultiTask(backbone(NETWORK), own(NETWORK)).eval()
    for n in range(number):
        model.add_task(f"task{n}", head=CLASSES)
    return model


def growing(tasks: int) -> dict[str, float]:
    """Adding tasks to a model and to a bank, what a bank holds, and finding a row in it."""
    model = _tasks(0)
    bank = tfold.Bank(model.backbone)
    seconds: list[float] = []
    numbers = 0
    for n in range(tasks):
        start = time.perf_counter()
        task = model.add_task(f"task{n}", head=CLASSES)
        bank.add(task)
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
