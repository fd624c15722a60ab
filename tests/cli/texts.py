"""A small project of text tasks on disk: an untrained T5, tables of examples, two configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

BACKBONE = """
from functools import partial

import torch
from taskfold.backbones import LoadedBackbone
from transformers import ByT5Tokenizer, T5Config, T5ForConditionalGeneration

def build(seed=0):
    sizes = dict(vocab_size=259, d_model=16, d_ff=16, d_kv=4, num_heads=2, num_layers=1, dropout_rate=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))
    tokenizer = partial(ByT5Tokenizer, extra_ids=0)
    return LoadedBackbone(network, name="tiny", generative="encoder-decoder", tokenizer=tokenizer)

def other():
    return build(1)

def mute():
    return torch.nn.Sequential(torch.nn.Linear(4, 4))
"""
LAYERS = 6 + 10
"""Linear layers: self-attention and feed-forward of the encoder's block; those and cross-attention of the decoder's."""
SKILLS = 3
WORDS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "kite", "lynx")
TOGETHER = {"epochs": 3, "steps_per_epoch": 2, "batch_size": 8}
TASKS = {"double": lambda word: word * 2, "first": lambda word: word[0], "last": lambda word: word[-1]}
NEW = {"second": lambda word: word[1]}


def write(folder: Path, **changes: Any) -> Path:
    """Three tasks that share an inventory; the configuration of their training, with top-level keys changed."""
    (folder / "net.py").write_text(BACKBONE)
    for name, answer in {**TASKS, **NEW}.items():
        examples(folder / f"{name}.jsonl", answer)
    document = {
        "backbone": "net.py:build",
        "method": {"name": "poly", "rank": 2, "skills": SKILLS},
        "text": {"max_input": 16, "max_target": 8},
        "together": TOGETHER,
        "output": "runs",
        "tasks": [{"name": name, "source": {"kind": "examples", "file": f"{name}.jsonl"}} for name in TASKS],
    }
    return _yaml(folder / "together.yaml", document, changes)


def transfer(folder: Path, name: str = "few", **changes: Any) -> Path:
    """The configuration of a transfer from there."""
    document = {
        "from": "runs",
        "shots": 4,
        "train": {"epochs": 2, "batch_size": 4},
        "output": name,
        "tasks": [{"name": "second", "source": {"kind": "examples", "file": "second.jsonl"}}],
    }
    return _yaml(folder / f"{name}.yaml", document, changes)


def examples(path: Path, answer: Any) -> Path:
    """Words with their answers, and two answers to choose among."""
    rows = [{"input": word, "target": answer(word), "choices": [answer(word), "no"]} for word in WORDS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _yaml(path: Path, document: dict[str, Any], changes: dict[str, Any]) -> Path:
    whole = {key: value for key, value in {**document, **changes}.items() if value is not ...}
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    return path
