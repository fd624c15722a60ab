"""Thirty customers on one frozen network: what a year with them costs.

    python experiments/thirty_customers.py                    thirty customers on EfficientNet-lite0, some minutes
    python experiments/thirty_customers.py 3 net.py:build     three on a network of one's own

Every customer sorts three of ten kinds of packaged digits, tinted in the customer's colour. The last one's images are
sorted at random, nine of ten alike: its task learns nothing, and the report says so. Then another customer comes, one
corrects images, one goes back to the version before, and a colleague gets it all. CI runs it in small.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from taskfold.cli import app
from taskfold.data import parse_source
from taskfold.tasks import Store

IMAGES = 20
"""Of each kind."""
SIZE = 32


def customer(folder: Path, number: int, digits: list[list[Image.Image]], nothing: bool = False) -> None:
    """Three kinds of digits in one colour; of `nothing` there is to learn, nine of ten images stand in one folder."""
    random = np.random.default_rng(number)
    colour = random.uniform(0.3, 1.0, 3)
    for place, kind in enumerate(random.choice(10, 3, replace=False)):
        for index, image in enumerate(digits[kind]):
            name = f"kind-{place}" if not nothing else f"kind-{int(random.random() > 0.9)}"
            file = folder / f"cust-{number:02}" / name / f"{place}-{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.asarray(image.convert("L"), float)[..., None] * colour
            Image.fromarray(pixels.astype(np.uint8)).save(file)


def taskfold(*arguments: object) -> None:
    """One command, as a shell runs it."""
    print(f"\n$ taskfold {' '.join(map(str, arguments))}")
    app([str(argument) for argument in arguments], standalone_mode=False)


@contextmanager
def timed(what: str, seconds: dict[str, float]) -> Iterator[None]:
    """How long a step takes."""
    start = time.monotonic()
    yield
    seconds[what] = time.monotonic() - start


def main(
    folder: Path, count: int = 30, backbone: str = "packaged:efficientnet-lite0", epochs: int = 5
) -> dict[str, float]:
    """The story, in a folder; seconds of its steps."""
    shutil.rmtree(folder / "runs", ignore_errors=True)
    images = parse_source({"kind": "packaged", "name": "mnist"}).load().train
    digits: list[list[Image.Image]] = [[] for _ in range(10)]
    for index, target in enumerate(images.targets):
        if len(digits[target]) < IMAGES:
            digits[target].append(images.read(index))
    for number in range(1, count + 1):
        customer(folder / "data", number, digits, nothing=number == count)
    config, runs, seconds = folder / "config.yaml", folder / "runs", dict[str, float]()
    config.unlink(missing_ok=True)
    taskfold("init", folder / "data", "--config", config, "--backbone", backbone)
    said = yaml.safe_load(config.read_text())
    said |= {"method": {"name": "ftn", "rank": 2}, "image_size": SIZE, "train": {"epochs": epochs, "batch_size": 16}}
    config.write_text(yaml.safe_dump(said))
    with timed(f"{count} customers", seconds):
        taskfold("train", config)
    store = Store(runs / "tasks")
    before = {name: store.digest(name) for name in store.names()}

    customer(folder / "data", count + 1, digits)
    with timed("one more", seconds):
        taskfold("train", config)
    assert {name: store.digest(name) for name in before} == before

    for file in sorted((folder / "data" / "cust-02" / "kind-0").glob("*.png"))[:5]:
        file.rename(file.parent.parent / "kind-1" / f"corrected-{file.name}")
    with timed("one corrected", seconds):
        taskfold("train", config)
    assert [name for name in before if store.digest(name) != before[name]] == ["cust-02"]
    taskfold("tasks", "show", runs, "cust-02")
    taskfold("tasks", "rollback", runs, "cust-02")
    assert store.digest("cust-02") == before["cust-02"]
    taskfold("train", config, "--task", "cust-02", "--fresh")
    assert store.digest("cust-02") != before["cust-02"]

    taskfold("tasks", "rename", runs, "cust-01", "customer-one")
    (folder / "data" / "cust-01").rename(folder / "data" / "customer-one")
    with timed("nothing new", seconds):
        taskfold("train", config)
    taskfold("pack", runs, "--file", folder / "customers.zip")
    shutil.rmtree(folder / "colleague", ignore_errors=True)
    taskfold("unpack", folder / "customers.zip", folder / "colleague")
    for what, took in seconds.items():
        print(f"{what}: {took:.1f} s")
    return seconds


if __name__ == "__main__":
    home = Path(__file__).parent / "runs" / "thirty_customers"
    home.mkdir(parents=True, exist_ok=True)
    given = sys.argv[1:]
    main(home, *([int(given[0])] if given else []), *given[1:2])
