"""A small byte-level T5 that can copy words and strip endings in general, made from ten languages: `packaged:lemma-t5`.

    OMP_NUM_THREADS=1 python experiments/lemma_backbone.py

About half an hour on one thread; `--steps 300` shows that it learns. It needs `transformers` and `simplemma==2.0.0`
and downloads nothing. The languages (`lemmas.BACKBONE`) are none of the demonstration's: neither `TRAINING` nor
`HELD_OUT`. There is no language tag. A third of the examples restore a form of which letters are masked or missing, the
others lemmatise; in half of the latter, letters of the stem are exchanged for others on both sides, so that a stem is
copied whatever it is and only the ending counts. Most inputs begin with `lemmas.MARK`: without it, copying must go by
what stands around, and falters at every repeated letter.

Writes demos/src/taskfold_demos/lemma_t5/{config.json,model.safetensors} every few minutes, in half precision, and at
the end results/lemma_backbone.json: exact match of greedy decoding on words held aside, beside copying the form.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from taskfold.tasks import write_atomically
from taskfold_demos import lemmas

HERE = Path(__file__).parent
FOLDER = HERE.parent / "demos/src/taskfold_demos/lemma_t5"
OUT = HERE / "results" / "lemma_backbone.json"
SHAPE: dict[str, Any] = {
    "vocab_size": 259,  # 256 bytes after padding, end and unknown: ByT5Tokenizer(extra_ids=0)
    "d_model": 128,
    "d_kv": 32,
    "d_ff": 320,
    "num_layers": 3,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "relative_attention_num_buckets": 64,  # every distance within a word has its own
    "relative_attention_max_distance": 32,
    "feed_forward_proj": "gated-relu",
    "dropout_rate": 0.0,
    "tie_word_embeddings": True,
    "decoder_start_token_id": 0,
    "dtype": "float32",
}
LATIN = "abcdefghijklmnopqrstuvwxyz" * 3 + (
    "áàâäãåāăąæçćčďđéèêëēęěíìîïīįłľñńňóòôöõøōőœŕřśšşșťţțúùûüūůűųýźžżðþßģķļņėķǥŋŧ"
)
CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюяєіїґђјљњћџѓќѕё"
MAX_BYTES, BATCH, RATE, WARM_UP, SEED = 24, 64, 2e-3, 300, 0
SIZES = {"enm": 4_000, "sw": 4_500, "el": 6_000, "hy": 6_000, "mk": 14_000}  # others 20,000
ZERO_SHOT = ("es", "de", "cs", "fi", "ru", *lemmas.HELD_OUT)

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=8000)
parser.add_argument("--minutes-between-checkpoints", type=float, default=4.0)
parser.add_argument("--check", action="store_true", help="leave the shipped files and results alone")
options = parser.parse_args()

torch.manual_seed(SEED)
dice = random.Random(SEED)
started = time.perf_counter()


def say(text: str) -> None:
    print(f"{time.perf_counter() - started:7.0f} s  {text}", flush=True)


def damaged(form: str) -> str:
    """About one letter in six masked or missing, one masked at least: the mark of this half of the examples."""
    kept = ["_" if (u := dice.random()) < 0.13 else "" if u < 0.17 else letter for letter in form]
    if "_" not in kept:
        kept[dice.randrange(len(kept))] = "_"
    return "".join(kept)


def disguised(form: str, lemma: str, letters: str) -> lemmas.Pair:
    """Other letters in the common beginning, but for its last, on which endings depend."""
    same = next((i for i, (a, b) in enumerate(zip(form, lemma, strict=False)) if a != b), min(len(form), len(lemma)))
    end = max(same - dice.choice((0, 1, 2)), 0)
    stem = "".join(dice.choice(letters) if dice.random() < 0.6 else letter for letter in form[:end])
    return stem + form[end:], stem + lemma[end:]


def tokens(words: list[str]) -> Tensor:
    """`[n, longest + 1]`: bytes + 3, end, padding."""
    coded = [[byte + 3 for byte in word.encode()] + [1] for word in words]
    longest = max(map(len, coded))
    return torch.tensor([row + [0] * (longest - len(row)) for row in coded], dtype=torch.int16)


def exact_match(model: Any, pairs: tuple[lemmas.Pair, ...]) -> float:
    source, target = tokens([lemmas.MARK + form for form, _ in pairs]).long(), tokens([a for _, a in pairs]).long()
    with torch.inference_mode():
        found = model.generate(source, attention_mask=source.ne(0).long(), max_new_tokens=MAX_BYTES + 1, num_beams=1)
    found = torch.nn.functional.pad(found[:, 1:], (0, target.shape[1]))[:, : max(target.shape[1], found.shape[1])]
    target = torch.nn.functional.pad(target, (0, found.shape[1] - target.shape[1]))
    return found.eq(target).all(1).double().mean().item()


def save(model: T5ForConditionalGeneration) -> None:
    tied = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    state = {name: tensor.half().clone() for name, tensor in model.state_dict().items() if name not in tied}
    FOLDER.mkdir(exist_ok=True)
    write_atomically(FOLDER / "config.json", model.config.to_json_string().encode())
    write_atomically(FOLDER / "model.safetensors", safetensors.torch.save(state, {"format": "pt"}))


tasks = {
    language: lemmas.lemma_task(
        language, train=SIZES.get(language, 20_000), val=100, test=300, max_bytes=MAX_BYTES, max_forms=8
    )
    for language in lemmas.BACKBONE
}
say("dictionaries: " + ", ".join(f"{name} {len(task.train):,}" for name, task in tasks.items()))
examples: list[lemmas.Pair] = []
for name, task in tasks.items():
    letters = CYRILLIC if name == "mk" else LATIN
    for form, lemma in task.train:
        word = disguised(form, lemma, letters)[0] if dice.random() < 0.2 else form
        examples += [(damaged(word), word), (form, lemma), disguised(form, lemma, letters)]
examples = [(form if dice.random() < 0.1 else lemmas.MARK + form, lemma) for form, lemma in examples]
examples = [pair for pair in examples if max(len(word.encode()) for word in pair) <= MAX_BYTES]
source, target = (tokens([pair[i] for pair in examples]) for i in (0, 1))
length = source.ne(0).sum(1) + target.ne(0).sum(1)
say(f"{len(examples):,} examples, {length.double().mean() / 2 - 1:.1f} bytes on average")

model = T5ForConditionalGeneration(T5Config(**SHAPE))
parameters = sum(tensor.numel() for tensor in model.parameters())
optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.01)
say(f"{parameters:,} parameters")


def batches():
    """Rows of about the same length together; every example once per pass."""
    while True:
        for pool in torch.randperm(len(examples)).split(64 * BATCH):
            rows = pool[length[pool].argsort()].split(BATCH)
            yield from (rows[i] for i in torch.randperm(len(rows)).tolist() if len(rows[i]) == BATCH)


def rate(step: int) -> float:
    return RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / options.steps))


loss = torch.zeros(())
running, saved, began = 0.0, time.perf_counter(), time.perf_counter()
for step, rows in zip(range(options.steps), batches(), strict=False):
    inputs, labels = (part[rows].long() for part in (source, target))
    inputs, labels = (part[:, : int(part.ne(0).sum(1).max())] for part in (inputs, labels))
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
    loss = model(
        input_ids=inputs, attention_mask=inputs.ne(0).long(), labels=labels.masked_fill(labels.eq(0), -100)
    ).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    running += loss.item()
    if (step + 1) % 100 == 0:
        say(f"step {step + 1} loss {running / 100:.3f} {(step + 1) / (time.perf_counter() - began):.2f} steps/s")
        running = 0.0
    if time.perf_counter() - saved > 60 * options.minutes_between_checkpoints and not options.check:
        save(model)
        seen = {name: exact_match(model.eval(), tasks[name].val) for name in ("fr", "tr", "pl")}
        say("checkpoint; exact match " + ", ".join(f"{name} {value:.0%}" for name, value in seen.items()))
        model.train()
        saved = time.perf_counter()
seconds = time.perf_counter() - began
model.eval()
if not options.check:
    save(model)
tests = {name: task.test for name, task in tasks.items()}
tests |= {name: lemmas.lemma_task(name, train=0, val=0, test=300, max_bytes=MAX_BYTES).test for name in ZERO_SHOT}
table = [
    {
        "language": name,
        "in_training": name in lemmas.BACKBONE,
        "words": len(pairs),
        "exact_match": exact_match(model, pairs),
        "copying": sum(form == lemma for form, lemma in pairs) / len(pairs),
    }
    for name, pairs in tests.items()
]
for row in table:
    say(f"{row['language']:>4} exact match {row['exact_match']:.1%}, copying {row['copying']:.1%}")
result = {
    "parameters": parameters,
    "steps": options.steps,
    "seconds": round(seconds),
    "last_loss": round(loss.item(), 4),
}
if not options.check:
    write_atomically(OUT, json.dumps({**result, "words": table}, indent=1).encode())
