"""Token classification on the command line: every word of a text gets a class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskfold.tasks import read_header

from .conftest import Run, trained_in
from .served import answers, holds, served

pytest.importorskip("transformers")

BACKBONE = """
from functools import partial

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
from taskfold.backbones import LoadedBackbone

WORDS = ["[PAD]", "[UNK]", "ann", "bob", "lives", "in", "rome", "oslo", "and", "##s"]

def tokenizer():
    words = {word: number for number, word in enumerate(WORDS)}
    made = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]")

def build():
    sizes = dict(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                 intermediate_size=16, max_position_embeddings=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = BertModel(BertConfig(**sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    return LoadedBackbone(network.eval(), num_features=16, tokenizer=tokenizer)

def no_text():
    return torch.nn.Linear(2, 2)
"""
TAGS = {"ann": "B-PER", "bob": "B-PER", "bobs": "B-PER", "rome": "B-LOC", "oslo": "B-LOC"}
TEXTS = [
    f"{who} lives in {where}{more}"
    for who in ("ann", "bob", "bobs")
    for where in ("rome", "oslo")
    for more in ("", " and ann", " and bob")
]


def write(folder: Path, **changes: Any) -> Path:
    """A task of names, and one that calls every place."""
    (folder / "net.py").write_text(BACKBONE)
    names, places = [], []
    for text in TEXTS:
        words = text.split()
        names.append("".join(f"{word} {TAGS.get(word, 'O')}\n" for word in words))
        places.append({"words": words, "tags": ["in" if TAGS.get(word) == "B-LOC" else "out" for word in words]})
    (folder / "names.conll").write_text("\n".join(names))
    (folder / "places.jsonl").write_text("".join(json.dumps(one) + "\n" for one in places))
    document = {
        "backbone": "net.py:build",
        "method": {"name": "lora", "rank": 2},
        "train": {"epochs": 10, "batch_size": 4, "optimizers": {"head": {"lr": 0.05}}},
        "source": {"kind": "words", "max_tokens": 12},
        "output": "runs",
        "tasks": [
            {"name": "names", "source": {"file": "names.conll"}},
            {"name": "places", "source": {"file": "places.jsonl"}},
        ],
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**document, **changes}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """The folder of a trained project; not to be changed."""
    return trained_in(tmp_path_factory.mktemp("words"), write, run)


def test_words_are_learned_measured_and_answered(trained: Path, run: Run) -> None:
    files = [trained / "runs" / "tasks" / f"{name}.safetensors" for name in ("names", "places")]
    info = read_header(files[0])["info"]
    assert (info["labels"], info["problem"]["kind"]) == (["B-LOC", "B-PER", "O"], "token-classification")
    assert info["preprocessing"] == {"kind": "words", "max_tokens": 12}
    found = json.loads(run("evaluate", trained / "config.yaml", "--json").stdout)["tasks"]
    assert [one["word_accuracy"] for one in found] == [1.0, 1.0]
    assert found[0]["entity_f1"] == info["metrics"]["test_entity_f1"] == 1.0 and "entity_f1" not in found[1]
    assert found[0]["macro_f1"] == info["metrics"]["test_macro_f1"] == 1.0
    data = "--data", f"{{kind: words, file: {trained}/names.conll}}"
    [one] = json.loads(run("evaluate", files[0], *data, "--json").stdout)["tasks"]
    assert (one["count"], one["left_out"]) == (20, 14)
    result = run("predict", *files, "bobs lives in oslo", "ann", "--json")
    assert result.exit_code == 0, result.stderr
    said = {(one["task"], one["input"]): one["tags"] for one in json.loads(result.stdout)["predictions"]}
    assert said["names", "bobs lives in oslo"] == [
        "B-PER",
        "O",
        "O",
        "B-LOC",
    ]  # bobs has two tokens, of which the first counts
    assert said["places", "ann"] == ["out"]
    assert "bobs/B-PER" in run("predict", files[0], "bobs lives in oslo").stdout
    assert "words" in run("inspect", files[0]).stdout
    assert run("train", trained / "config.yaml").exit_code == 0  # finished; read


def test_a_text_that_is_too_long_is_an_error_and_no_shorter_answer(trained: Path, run: Run) -> None:
    result = run("predict", trained / "runs" / "tasks" / "names.safetensors", " ".join(["ann"] * 13), "ann", "--json")
    assert result.exit_code == 1
    assert "only 12 of 13 words are within 12 tokens: give shorter texts" in result.stderr
    assert len(json.loads(result.stdout)["predictions"]) == 1


@pytest.mark.parametrize("bank", ["--bank", "--no-bank"])
def test_a_server_says_of_words_what_predict_says(trained: Path, run: Run, bank: str) -> None:
    files = [trained / "runs" / "tasks" / f"{name}.safetensors" for name in ("names", "places")]
    texts = ["bobs lives in oslo", "ann", "bob and ann lives in rome"]
    wanted = json.loads(run("predict", *files, *texts, "--json").stdout)["predictions"]
    with served(run, trained / "runs", bank) as client:
        asked = client.post("/predict", json={"task": ["names", "places"], "text": texts})
        found = {(one["task"], texts[one["input"]]): one for one in answers(asked)}
        assert len(found) == len(wanted) == 6
        for one in wanted:
            said = {key: value for key, value in one.items() if key != "input"}
            assert holds(found[one["task"], one["input"]], said)
        long = client.post("/predict", json={"task": "names", "text": " ".join(["ann"] * 13)})
        assert (long.status_code, "only 12 of 13 words" in long.text) == (400, True)
        one = {"name": "text", "shape": [2], "datatype": "BYTES", "data": texts[:2]}
        said = client.post("/v2/models/names/infer", json={"inputs": [one]})
        assert (said.status_code, "outputs of several sizes" in said.text) == (400, True)
        one |= {"shape": [1], "data": texts[:1]}
        outputs = client.post("/v2/models/names/infer", json={"inputs": [one]}).json()["outputs"]
        assert outputs[0]["shape"] == [1, 4, 3]


def test_a_server_of_other_kinds_takes_no_task_of_words(trained: Path, run: Run, tmp_path: Path) -> None:
    with served(run, tmp_path, "--backbone", f"{trained}/net.py:build") as client:
        file = (trained / "runs" / "tasks" / "names.safetensors").read_bytes()
        refused = client.put("/tasks/names", content=file)
        assert (refused.status_code, "serve tasks of this kind by themselves" in refused.text) == (422, True)


def test_a_task_of_words_is_exported(trained: Path, run: Run, tmp_path: Path) -> None:
    file = trained / "runs" / "tasks" / "names.safetensors"
    result = run("export", file, "--output", tmp_path / "names.pt2")
    assert result.exit_code == 0, result.stderr
    assert [*json.loads((tmp_path / "names.json").read_text())["inputs"]] == ["input_ids", "attention_mask"]


def test_tasks_of_words_train_together(tmp_path: Path, run: Run) -> None:
    method = {"name": "lora", "rank": 2, "sharing": "shared"}
    result = run("train", write(tmp_path, method=method, together=True))
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("ann\n", {}, "line 1: must be a word and its class, in 2 columns like all lines, found 'ann'"),
        ("ann PER\n\n# id = 2\nbob PER\n", {}, "line 3: must be a word and its class, in 2 columns like all lines"),
        ("", {}, "has no texts"),
        ("ann PER\n\nbob PER\n\nrome PER\n\noslo PER\n", {}, "needs at least 2 classes, found PER"),
        ("ann PER\n\nbob LOC\n", {}, "too few to set some aside"),
        (None, {"backbone": "net.py:no_text"}, "has no fast tokenizer"),
        (
            None,
            {"problem": "regression"},
            "problem: must be token-classification for words of texts, found 'regression'",
        ),
        (None, {"text": {"max_input": 4}}, "text: is for tasks of texts, and these have words of texts"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, run: Run, text: str | None, changes: dict[str, Any], message: str
) -> None:
    config = write(tmp_path, **changes)
    if text is not None:
        (tmp_path / "names.conll").write_text(text)
    result = run("train", config)
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "runs").exists()
