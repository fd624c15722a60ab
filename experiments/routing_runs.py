"""What the routing experiments share: the bench, and one file per training so that several processes can help."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from claimed import claimed

from taskfold import backbones
from taskfold.tasks import write_atomically
from taskfold_demos.jobs import Bench, Contender, RoutingPlan, routing_plan, words_of

HERE = Path(__file__).parent
FOLDER = HERE / "runs" / "routing"
PLAN = routing_plan("full")
started = time.perf_counter()


def say(text: str) -> None:
    """A line of the log."""
    print(f"{time.perf_counter() - started:6.0f} s  {text}", flush=True)


def bench(plan: RoutingPlan = PLAN) -> Bench:
    """The backbone and all words; about a minute and a half."""
    torch.set_num_threads(1)
    loaded = backbones.load("packaged:lemma-t5")
    found = Bench(plan, loaded, words_of(plan), say=say)
    say(f"{len(found.words)} languages")
    return found


def baselines(with_words: Bench) -> list[dict[str, Any]]:
    """What is right without training, measured once."""
    path = FOLDER.parent / "routing-baselines.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(with_words.baselines(), ensure_ascii=False).encode())
    return json.loads(path.read_text())


def run(with_words: Bench, contender: Contender, seed: int, name: str = "", **more: Any) -> None:
    """One training, unless another process has begun it; delete its file to have it done again."""
    with claimed(FOLDER / f"{name or contender.label}-seed-{seed}.json".replace(" ", "-")) as path:
        if path:
            record = with_words.run(contender, seed, routing=not (seed or more)) | more
            write_atomically(path, json.dumps(record, ensure_ascii=False).encode())


def records() -> list[dict[str, Any]]:
    """All that is done."""
    texts = [path.read_text() for path in sorted(FOLDER.glob("*.json"))]
    return [json.loads(text) for text in texts if text]
