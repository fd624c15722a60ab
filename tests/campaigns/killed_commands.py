"""A command that is killed before any of its operations on files and started again ends as if it had not been killed.

`python -m tests.campaigns.killed_commands` kills every command before each operation, some minutes to an hour;
`--only NAME` one command, `--every 5` before each fifth operation. After each kill all visible files are
whole; after the next start tasks, versions, scores and names of files are those of an undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # these two: seconds of imports that torch puts off until there is an optimiser
import torch.distributed.tensor
import yaml
from torch import nn

import taskfold as tfold
from taskfold.cli import _compare, _retold, _story, app
from taskfold.export import export
from taskfold.tasks import Store, write_atomically

from ..cli import project
from .dying import KILLED, apart, operations
from .states import broken, differing, state

Work = Callable[[Path], None]
TRAIN = {"epochs": 2, "batch_size": 8}


def command(*arguments: str) -> Work:
    """One command, in a folder."""

    def run(folder: Path) -> None:
        given = [one.replace("@", f"{folder}/") for one in arguments]
        app(given, standalone_mode=False)

    return run


def trained(folder: Path) -> None:
    """A project of two tasks that are trained."""
    app(["train", str(project.write(folder, train=TRAIN))], standalone_mode=False)


def again(folder: Path) -> None:
    """A task of it has two versions."""
    trained(folder)
    other(folder)
    app(["train", f"{folder}/config.yaml"], standalone_mode=False)


def other(folder: Path) -> None:
    """Other settings for one task."""
    said = yaml.safe_load((folder / "config.yaml").read_text())
    said["tasks"][1]["method"]["rank"] = 1
    (folder / "config.yaml").write_text(yaml.safe_dump(said))


def changed(folder: Path) -> None:
    """A project that is trained, and then configured otherwise."""
    trained(folder)
    other(folder)


def untrained(folder: Path) -> None:
    """A project."""
    project.write(folder, train=TRAIN)


def begun(folder: Path) -> None:
    """A project whose training was killed in its midst."""
    untrained(folder)
    said = folder.with_name("begun")
    assert apart(command("train", "@config.yaml"), folder, said, 40) == KILLED, said.read_text()


def joint(folder: Path) -> None:
    """Tasks that are to be trained together."""
    project.write(folder, train={}, method={"name": "poly", "rank": 1, "skills": 2}, together=TRAIN, tasks=[
        {"name": name, "source": {"kind": "folder", "root": f"data/{name}"}} for name in ("warm", "all")
    ])  # fmt: skip
    said = yaml.safe_load((folder / "config.yaml").read_text())
    del said["train"]
    (folder / "config.yaml").write_text(yaml.safe_dump(said))


def compared(folder: Path) -> None:
    """A comparison of two methods."""
    methods = [{"name": "head-only"}, {"name": "ftn", "search": {"rank": [1, 2]}}]
    project.write(folder, train=TRAIN, compare={"methods": methods, "trials": 2, "seeds": 1})
    said = yaml.safe_load((folder / "config.yaml").read_text())
    del said["method"], said["tasks"][1:]
    (folder / "config.yaml").write_text(yaml.safe_dump(said))


def images(folder: Path) -> None:
    """Folders of images."""
    project.images(folder / "data" / "warm", ["blue", "red"], 2)
    project.images(folder / "data" / "cold", ["blue", "green"], 2)


def model(value: float = 0.0, method: tfold.Method | None = None) -> tfold.MultiTask:
    """A model with one task."""
    torch.manual_seed(0)
    made = tfold.MultiTask(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), method or tfold.LoRA(2)).eval()
    made.add_task("t").info.metrics["test_accuracy"] = value
    return made


def saved(folder: Path) -> None:
    """A task file."""
    model(0.5).save_task("t", folder / "t.safetensors")


def save(folder: Path) -> None:
    """Another task in its place, and an inventory beside it."""
    model(0.7).save_task("t", folder / "t.safetensors")
    model(method=tfold.Poly(rank=1, skills=2)).save_inventory(folder / "inventory.safetensors")


def published(folder: Path) -> None:
    """A store in which somebody put a file by hand, and a new file for it."""
    (folder / "tasks").mkdir()
    model(0.1).save_task("t", folder / "tasks" / "t.safetensors")
    model(0.5).save_task("t", folder / "new.safetensors")


def publish(folder: Path) -> None:
    """The new file becomes the current version."""
    Store(folder / "tasks").publish(folder / "new.safetensors", {"note": "new"})


def versions(folder: Path) -> None:
    """A store with three versions of one task."""
    for value in (0.1, 0.2, 0.3):
        Store(folder / "tasks").publish(model(value).save_task("t", folder / "new.safetensors"), {"value": value})


def packed(folder: Path) -> None:
    """A run with versions of a task that is packed."""
    (folder / "net.py").write_text(project.BACKBONE)
    for value in (0.1, 0.2):
        Store(folder / "runs" / "tasks").publish(model(value).save_task("t", folder / "new.safetensors"))
    noted = {"model": "net.py:build", "weights": None, "base": "..", "inventory": None}
    (folder / "runs" / "run.json").write_text(json.dumps(noted))
    app(["pack", f"{folder}/runs", "--file", f"{folder}/runs.zip"], standalone_mode=False)


def exported(folder: Path) -> None:
    """A task, folded."""
    export(model().fold("t"), [torch.ones(2, 4)], folder / "t.pt2")


def adapter(folder: Path) -> None:
    """A task in PEFT's format."""
    model(method=tfold.LoRA(2, layers="any")).save_peft("t", folder / "t")


def back(folder: Path) -> None:
    """The first version of a task again."""
    first = Store(folder / "runs" / "tasks").versions("all")[0].digest
    command("tasks", "rollback", "@runs", "all", "--to", first)(folder)


@dataclass(frozen=True)
class Case:
    """What is killed: first what is there before, then what is done."""

    before: Work
    work: Work
    once: bool = False
    """Done again it would be something else; where it has come to its end it is not started again."""


CASES = {
    "train": Case(untrained, command("train", "@config.yaml")),
    "resumed": Case(begun, command("train", "@config.yaml")),
    "retrained": Case(changed, command("train", "@config.yaml")),
    "fresh": Case(trained, command("train", "@config.yaml", "--task", "warm", "--fresh")),
    "together": Case(joint, command("train", "@config.yaml")),
    "save": Case(saved, save),
    "publish": Case(published, publish),
    "rollback": Case(versions, lambda folder: void(Store(folder / "tasks").rollback("t")), once=True),
    "rename": Case(versions, lambda folder: void(Store(folder / "tasks").rename("t", "u")), once=True),
    "remove": Case(versions, lambda folder: Store(folder / "tasks").remove("t"), once=True),
    "purge": Case(versions, lambda folder: Store(folder / "tasks").remove("t", purge=True), once=True),
    "tasks rename": Case(again, command("tasks", "rename", "@runs", "all", "every"), once=True),
    "tasks rollback": Case(again, back),
    "tasks remove": Case(again, command("tasks", "remove", "@runs", "all", "--purge"), once=True),
    "pack": Case(trained, command("pack", "@runs", "--file", "@runs.zip")),
    "unpack": Case(
        packed,
        command("unpack", "@runs.zip", "@mine"),
        once=True,
    ),
    "export": Case(lambda folder: None, exported),
    "peft": Case(lambda folder: None, adapter, once=True),
    "init": Case(images, command("init", "@data", "--config", "@config.yaml", "--backbone", "net.py:build"), once=True),
    "compare": Case(compared, command("compare", "@config.yaml")),
}
SMALL = {"publish": 5, "rollback": 3, "rename": 17, "purge": 3, "save": 4, "unpack": 9, "peft": 2}
"""Those that take milliseconds, and every how many operations the suite kills them."""


def void(_: object) -> None:
    """Nothing."""


def killed(case: Case, home: Path, number: int, wanted: dict[str, Any]) -> str:
    """Kill before that operation and start again; what is wrong, or nothing."""
    folder, said = home / "killed" / "here", home / "said"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(home / "before" / "here", folder)
    if (code := apart(case.work, folder, said, number)) != KILLED:
        return f"ended with {code} instead of being killed: {said.read_text()[-600:]}"
    if wrong := broken(folder):
        return wrong
    # What is hidden the next command of that task removes, whichever it is.
    if case.once and not differing({k: v for k, v in state(folder).items() if v != "hidden"}, wanted):
        return ""
    if apart(case.work, folder, said) and not (case.once and not differing(state(folder), wanted)):
        return f"the next start fails: {said.read_text().partition(chr(10) * 2)[0][-900:]}"
    return differing(state(folder), wanted)


def campaign(name: str, home: Path, every: int = 1) -> tuple[int, list[str]]:
    """Kill one of `CASES` before each of its operations: how many kills, and what was wrong after them."""
    case, said = CASES[name], home / "said"
    for place in ("before", "whole", "killed"):
        shutil.rmtree(home / place, ignore_errors=True)
    # Of one name and depth, or paths in files would differ.
    before, whole = home / "before" / "here", home / "whole" / "here"
    before.mkdir(parents=True)
    if apart(case.before, before, said):
        return 0, [f"{name}: cannot begin: {said.read_text()[-1500:]}"]
    shutil.copytree(before, whole)
    if apart(case.work, whole, said):
        return 0, [f"{name}: fails undisturbed: {said.read_text()[-1500:]}"]
    listing = said.read_text().splitlines()
    wanted, count = state(whole), operations(said)
    if left := [key for key in wanted if "/." in f"/{key}"]:
        return 0, [f"{name}: leaves {', '.join(left)}"]
    names = listing[-1 - count : -1]
    wrong = []
    numbers = range(1, count + 1, every)
    for number in numbers:
        if found := killed(case, home, number, wanted):
            wrong.append(f"{name}, before operation {number} of {count} ({names[number - 1]}): {found}")
    return len(numbers), wrong


def quick() -> None:
    """Without what takes long and writes nothing, or writes as everything does: drawings, latencies."""

    def page(document: Any, path: Path) -> Path:
        write_atomically(path, b"page")
        return path

    torch.set_num_threads(1)
    _story.write_report = _compare.write_report = _retold.write_report = page
    _compare.costs_of = lambda bench, folders: {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES), help="commands to kill")
    parser.add_argument("--every", type=int, default=1)
    asked = parser.parse_args()
    quick()
    total, problems = Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as home:
        for name in asked.only:
            start = time.monotonic()
            count, wrong = campaign(name, Path(home), asked.every)
            total[name] = count
            problems += wrong
            print(f"{name}: {count} kills, {len(wrong)} wrong, {time.monotonic() - start:.0f} s", flush=True)
            print(*wrong[:8], sep="\n", flush=True)
    print(f"{sum(total.values())} kills of {len(total)} commands; wrong: {len(problems)}")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
