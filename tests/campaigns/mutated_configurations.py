"""Mutated configurations are read or refused by `ConfigError`, each within seconds.

`python -m tests.campaigns.mutated_configurations --count 500` makes 500 mutations: of characters and lines; of
values and keys; of aliases and merge keys that grow.
"""

from __future__ import annotations

import argparse
import copy
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from taskfold.config import ConfigError
from taskfold.config.compare import load_compare
from taskfold.config.run import load_any

SECONDS = 20
DOCUMENTS: list[dict[str, Any]] = [
    {
        "backbone": {"model": "net.py:build", "pretrained": False},
        "method": {"name": "ftn", "rank": 2, "norm": True},
        "train": {"epochs": 2, "batch_size": 8, "log_every": 1, "optimizers": {"head": {"lr": 0.05}}, "seed": 1},
        "preprocessing": {"size": 8, "mean": [0.5, 0.5, 0.5]},
        "output": "runs",
        "tasks": [
            {"name": "warm", "source": {"kind": "folder", "root": "data/warm", "test_fraction": 0.3}},
            {"name": "all", "source": {"kind": "csv", "file": "all.csv"}, "method": {"rank": 3}, "train": {"seed": 3}},
        ],
    },
    {
        "backbone": "timm:resnet18",
        "method": {"name": "poly", "skills": 2},
        "together": {"sampling": "proportional", "task_weights": {"a": 2.0}, "groups": [["a"], ["b"]]},
        "output": "runs",
        "tasks": [{"name": name, "source": {"kind": "folder", "root": name}} for name in "ab"],
    },
    {
        "backbone": "hf:bert",
        "text": {"max_input": 32},
        "output": "runs",
        "tasks": [{"name": "mail", "source": {"kind": "examples", "file": "mail.csv"}}],
    },
    {
        "from": "runs/old",
        "mode": "z",
        "shots": 4,
        "seed": 2,
        "method": {"allocation": "sigmoid"},
        "output": "runs/new",
        "tasks": [{"name": "c", "source": {"kind": "folder", "root": "c"}}],
    },
    {
        "backbone": {"network": "segnet", "width": 16, "seed": 3},
        "dense": {"size": [32, 32], "augment": {"flip": 0.5, "crop": [16, 16]}},
        "output": "runs",
        "tasks": [{"name": "depth", "source": {"kind": "aligned", "root": "rooms"}, "target": "depth"}],
    },
    {
        "backbone": "timm:resnet18",
        "compare": {"methods": ["head-only", {"name": "lora", "search": {"rank": [1, 4]}}], "trials": 2, "seeds": 1},
        "output": "runs",
        "tasks": [{"name": "a", "source": {"kind": "folder", "root": "a"}}],
    },
]
JUNK: list[Any] = [None, True, False, [], {}, "", "x", "auto", -1, 0, 1, 0.5, 10**9, 10**30, 10**400, 1e308, -1e308]
JUNK += [
    float("nan"),
    float("inf"),
    [[]],
    {"a": 1},
    {"name": "lora"},
    {1: 2},
    "\ud7ff\n",
    "é" * 300,
    "/",
    "..",
    [1, "a"],
]
JUNK += ["x" * 100_000, list(range(2000)), "1e5", "no", "~", "packaged:", ":", "a:b:c", ["a"] * 3]


def places(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where there is something in a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [before, *(place for key, one in inside for place in places(one, (*before, key)))]


def text_mutated(document: dict[str, Any], chance: random.Random) -> str:
    text = yaml.safe_dump(document, sort_keys=False)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(text))
        match chance.randrange(4):
            case 0:
                text = text[:at] + text[at + chance.randrange(1, 10) :]
            case 1:
                text = text[:at] + chance.choice(list(":-[]{}&*!|>'\"%@`#,?~<\t\n\x00\u2028é")) + text[at:]
            case 2:
                lines = text.splitlines(keepends=True)
                chance.shuffle(lines)
                text = "".join(lines)
            case _:
                text = (
                    text[:at]
                    + chance.choice(["9" * 5000, "1e999", "!!python/object:os.system ", "? ", "---\n"])
                    + text[at:]
                )
        text = text or "x"
    return text


def values_mutated(document: dict[str, Any], chance: random.Random) -> str:
    changed = copy.deepcopy(document)
    for _ in range(chance.randrange(1, 3)):
        place = chance.choice([one for one in places(changed) if one] or [("tasks",)])
        holder = changed
        for key in place[:-1]:
            holder = holder[key]
        match chance.randrange(4):
            case 0 if isinstance(holder, dict):
                holder[chance.choice(["x", "name", "kind", "lr", "search", 7, None, True, "size"])] = chance.choice(
                    JUNK
                )
            case 1:
                del holder[place[-1]]
            case _:
                holder[place[-1]] = chance.choice(JUNK)
    return yaml.safe_dump(changed, sort_keys=False, allow_unicode=True)


def grown(document: dict[str, Any], chance: random.Random) -> str:
    """Aliases and merge keys that stand for ever more, and levels without end."""
    first, *more = "abcdefghijklmnop"[: chance.choice([5, 10, 16])]
    wide, width, last = chance.random() < 0.5, chance.choice([2, 9]), more[-1]
    many = "".join(f"x{b}: &{b} [{', '.join([f'*{a}'] * width)}]\n" for a, b in zip([first, *more], more, strict=False))
    if wide:
        many = "".join(
            f"x{b}: &{b} {{<<: [{', '.join([f'*{a}'] * width)}], {b}: 1}}\n"
            for a, b in zip([first, *more], more, strict=False)
        )
    begin = f"x{first}: &{first} {'{l: 1}' if wide else '[l]'}\n"
    deep = chance.choice([60, 400, 20_000])
    place = chance.choice(["backbone", "output", "train", "tasks", "method", "together", "source"])
    value = chance.choice(
        [f"*{last}", f"{{epochs: *{last}}}", f"[{{name: *{last}}}]", "[" * deep + "]" * deep, "&z [*z]"]
    )
    rest = {key: one for key, one in document.items() if key != place}
    return begin + many + yaml.safe_dump(rest, sort_keys=False) + f"{place}: {value}\n"


MUTATIONS: list[Callable[[dict[str, Any], random.Random], str]] = [text_mutated, values_mutated, values_mutated, grown]


def tried(path: Path) -> str:
    """What becomes of a configuration; anything but a `ConfigError` goes on upwards."""
    try:
        compares = "\ncompare:" in path.read_text(encoding="utf-8")
        (load_compare if compares else load_any)(path)
    except ConfigError as error:
        if len(str(error)) > 100_000:
            raise AssertionError(f"a message of {len(str(error)):,} characters") from None
        return "refused"
    return "read"


def _late(*_: object) -> None:
    raise TimeoutError(f"it takes more than {SECONDS} seconds")


def campaign(count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """So many mutated configurations: what became of them, and what should not have happened."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    path = folder / "config.yaml"
    before = signal.signal(signal.SIGALRM, _late)
    try:
        for number in range(count):
            chance = random.Random(f"{seed} {number}")
            mutation = chance.choice(MUTATIONS)
            text = mutation(chance.choice(DOCUMENTS), chance)
            path.write_bytes(text.encode("utf-8", "replace"))
            signal.alarm(SECONDS)
            try:
                counts[tried(path)] += 1
            except Exception as error:
                kept = folder / f"wrong-{number}.yaml"
                kept.write_text(text)
                wrong.append(f"{number} ({mutation.__name__}): {type(error).__name__}: {str(error)[:300]}")
            finally:
                signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)
    return counts, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the configurations that went wrong")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, wrong = campaign(asked.count, asked.seed, asked.keep or Path(folder))
    print(f"{asked.count} mutated configurations: {dict(counts)}; wrong: {len(wrong)}")
    print("\n".join(wrong))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
