"""The byte-level T5 that the demonstration of routing stands on, with its weights."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from taskfold.backbones import LoadedBackbone, Request, extra, hugging_face

FOLDER = Path(__file__).parent


def lemma_t5(request: Request) -> LoadedBackbone:
    """`packaged:lemma-t5`: a T5 of 1.4 million parameters that reads and writes bytes; its weights are in this package.

    It was made by `experiments/lemma_backbone.py` to restore and lemmatise the words of ten languages.
    """
    loaded = hugging_face(dataclasses.replace(request, name=str(FOLDER)))
    # As it was trained its decoder counts 64 distances one by one, of which 32 are all; farther ones need a far end.
    attention = loaded.network.get_submodule("decoder.block.0.layer.0.SelfAttention")
    attention.__dict__["relative_attention_max_distance"] = 128
    tokenizer = partial(extra("transformers", "text").ByT5Tokenizer, extra_ids=0)
    return dataclasses.replace(loaded, num_features=None, features=None, tokenizer=tokenizer)
