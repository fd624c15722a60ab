"""Damaged task and inventory files are refused, always by `TaskFileError`, and leave the model as it was.

`python -m tests.campaigns.damaged_files --count 1000` makes 1000 damages: in bytes; in tensors; and in
documents whose digest is recomputed, so that only their form shows it.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold.cli._cards import card
from taskfold.cli.inspect import _table
from taskfold.tasks import digest

METHODS: dict[str, tfold.Method] = {
    "ftn": tfold.FTN(rank=2),
    "lora": tfold.LoRA(rank=2, norm=True),
    "mask": tfold.Piggyback(),
    "poly": tfold.Poly(rank=2, skills=2),
    "fine-tuning": tfold.FineTuning(),
}
JUNK: list[Any] = [None, True, [], {}, "", "x", "nan", -1, 0, 2, 10**9, 10**30, 1e308, float("nan"), float("inf")]
JUNK += [["a", "b"], {"a": 1}, [[]], "\ud800", "é" * 300, [0] * 1000, {"name": "ftn"}, "all", "linear", "transfer"]
ROOM = 2 << 30
X = torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def model() -> tfold.MultiTask:
    return tfold.MultiTask(network(), num_features=8).eval()


def files(folder: Path) -> dict[str, Path]:
    """One file of each kind."""
    found: dict[str, Path] = {}
    for name, method in METHODS.items():
        made = model()
        made.add_task("t", head=3, method=method, labels=["a", "b", "c"], preprocessing={"size": 8})
        found[name] = made.save_task("t", folder / f"{name}.safetensors", standalone=name == "poly")
        if name == "poly":
            found["inventory"] = made.save_inventory(folder / "inventory.safetensors")
    return found


def split(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    size = int.from_bytes(data[:8], "little")
    text = json.loads(data[8 : 8 + size])["__metadata__"]["taskfold"]
    return json.loads(text), safetensors.torch.load(data)


def joined(document: Any, tensors: dict[str, Tensor], text: str | None = None) -> bytes:
    """A file with a digest that fits."""
    if isinstance(document, dict) and text is None:
        rest = {key: value for key, value in document.items() if key != "digest"}
        if "digest" in document:
            document["digest"] = digest(dict(sorted(tensors.items())), json.dumps(rest, sort_keys=True))
    return safetensors.torch.save(tensors, {"taskfold": text if text is not None else json.dumps(document)})


def places(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where there is something in a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [before, *(place for key, one in inside for place in places(one, (*before, key)))]


def bytes_damaged(data: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(data)
    match chance.randrange(4):
        case 0:
            del damaged[chance.randrange(len(damaged)) :]
        case 1:
            damaged[chance.randrange(8)] ^= 1 << chance.randrange(8)
        case 2:
            at = chance.randrange(len(damaged))
            damaged[at:at] = chance.randbytes(chance.randrange(1, 9))
        case _:
            for _ in range(chance.randrange(1, 4)):
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def document_damaged(data: bytes, chance: random.Random) -> bytes:
    document, tensors = split(data)
    if chance.random() < 0.05:
        deep = chance.choice([400, 200_000])
        return joined(document, tensors, chance.choice(["[" * deep + "]" * deep, '{"a":' * deep + "1" + "}" * deep]))
    place = chance.choice([one for one in places(document) if one not in ((), ("digest",))])
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    if chance.random() < 0.2:
        del holder[place[-1]]
    elif chance.random() < 0.1:
        nested: Any = "x"
        for _ in range(chance.choice([60, 300])):
            nested = [nested] if chance.random() < 0.5 else {"a": nested}
        holder[place[-1]] = nested
    else:
        holder[place[-1]] = chance.choice(JUNK)
    return joined(document, tensors)


def tensors_damaged(data: bytes, chance: random.Random) -> bytes:
    document, tensors = split(data)
    name = chance.choice(sorted(tensors))
    tensor = tensors[name].clone()
    types = [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn]
    match chance.randrange(6):
        case 0:
            tensor = tensor.float().to(chance.choice(types))
        case 1:
            tensor = torch.zeros(
                chance.choice([(), (0,), (1,), (2, 3), (*tensor.shape, 1), (0, 2**40)]), dtype=tensor.dtype
            )
        case 2 if tensor.is_floating_point() and tensor.numel():
            tensor.view(-1)[0] = chance.choice([float("nan"), float("inf"), -float("inf"), -1.0])
        case 3:
            tensors[name + chance.choice(["x", ".", "/", "", "inventory:"])] = tensor.clone()
        case 4 if tensor.numel():
            tensor = tensor.flatten()[:-1]
        case _:
            del tensors[name]
            return joined(document, tensors)
    tensors[name] = tensor
    return joined(document, tensors)


DAMAGES: list[Callable[[bytes, random.Random], bytes]] = [bytes_damaged, document_damaged, tensors_damaged]


@contextmanager
def little_room() -> Iterator[None]:
    """Run a block in which two gigabytes more than there are now can't be had."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def tried(path: Path, kind: str, held: tfold.MultiTask) -> str:
    """What becomes of a file; anything but a `TaskFileError` goes on upwards."""
    before = held(X, task="kept")
    try:
        if kind == "inventory":
            held.load_inventory(path)
        else:
            held.load_task(path, name="u")
            held(X, task="u")
        found = "loaded"
    except tfold.TaskFileError as error:
        if "allocate" in str(error):
            raise MemoryError(str(error)) from error
        found = "refused"
    if "u" in held.tasks:
        held.remove_task("u")
    held.drop_inventory()
    if list(held.tasks) != ["kept"] or not torch.equal(held(X, task="kept"), before):
        raise AssertionError("the model is another than before")
    try:
        _table(card(path, tensors=True))
    except tfold.TaskFileError:
        return found
    return f"{found}, shown"


@torch.no_grad()
def campaign(count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """So many damaged files: what became of them, and what should not have happened."""
    whole = {name: path.read_bytes() for name, path in files(folder).items()}
    held = model()
    held.add_task("kept", head=2, method=tfold.HeadNorm())
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    (folder / "damaged").mkdir()
    path = folder / "damaged" / "t.safetensors"
    with little_room():
        for number in range(count):
            chance = random.Random(f"{seed} {number}")
            name = chance.choice(list(whole))
            damage = chance.choice(DAMAGES)
            path.write_bytes(damage(whole[name], chance))
            try:
                found = tried(path, name, held)
                if damage is bytes_damaged and found.startswith("loaded") and path.read_bytes() != whole[name]:
                    raise AssertionError("a file with other bytes is loaded")
                counts[found] += 1
            except Exception as error:
                wrong.append(f"{number} ({name}, {damage.__name__}): {type(error).__name__}: {str(error)[:300]}")
                held = model()
                held.add_task("kept", head=2, method=tfold.HeadNorm())
    return counts, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, wrong = campaign(asked.count, asked.seed, Path(folder))
    print(f"{asked.count} damaged files: {dict(counts)}; wrong: {len(wrong)}")
    print("\n".join(wrong))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
