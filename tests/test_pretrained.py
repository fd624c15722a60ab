"""Tasks as plain networks of transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import taskfold as tfold
from taskfold.pretrained import as_pretrained

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::taskfold.AdaptationWarning")
WORDS = ["[PAD]", "[UNK]", "a", "good", "bad", "film"]


def bert(kind: str = "BertModel", **settings: int) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.BertConfig(vocab_size=len(WORDS), initializer_range=0.3, **sizes, **settings)
    return getattr(transformers, kind)(config).eval()


def trained(network: nn.Module, head: int | None) -> tfold.MultiTask:
    model = tfold.MultiTask(network, tfold.LoRA(2, layers="linear", init="normal")).eval()
    model.add_task("mood", head=head, labels=("bad", "good"))
    return model


@pytest.mark.parametrize(("kind", "head"), [("BertModel", 2), ("BertForSequenceClassification", None)])
def test_a_task_runs_in_a_pipeline_and_is_saved(kind: str, head: int | None, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    model = trained(bert(kind), head)
    made = as_pretrained(model, "mood")
    assert type(made).__name__ == "BertForSequenceClassification"
    assert made.config.id2label == {0: "bad", 1: "good"}
    assert "LABEL" in str(model.backbone.config.id2label)  # type: ignore[union-attr]
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: n for n, word in enumerate(WORDS)}, "[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    (said,) = transformers.pipeline("text-classification", model=made, tokenizer=tokenizer, device="cpu")(
        ["a bad film"]
    )
    ids = torch.tensor([[2, 4, 5]])
    with torch.no_grad():
        found = model(ids, task="mood")
        scores = (found if isinstance(found, torch.Tensor) else found.logits).softmax(-1)[0]
    assert said["label"] == ("bad", "good")[int(scores.argmax())]
    assert said["score"] == pytest.approx(float(scores.max()), abs=1e-5)
    made.save_pretrained(tmp_path)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, made(ids).logits, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("layer", "tied"), [("lm_head", False), ("transformer.wte", False), ("*.c_fc", True)])
def test_a_folder_says_which_weights_are_one(layer: str, tied: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 12, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
    config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
    model = tfold.MultiTask(
        transformers.GPT2LMHeadModel(config).eval(), tfold.LoRA(2, layers="any", targets=layer, init="normal")
    ).eval()
    model.add_task("mood")
    as_pretrained(model, "mood").save_pretrained(tmp_path)
    again = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    assert (again.config.tie_word_embeddings, config.tie_word_embeddings) == (tied, True)
    ids = torch.tensor([[2, 4, 5]])
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, model(ids, task="mood").logits, rtol=1e-5, atol=1e-5)


def test_other_features_than_the_heads_are_refused() -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.ViTConfig(image_size=16, patch_size=8, **sizes)
    model = tfold.MultiTask(transformers.ViTModel(config).eval(), tfold.LoRA(2, init="normal")).eval()
    model.add_task("one", head=3)
    with pytest.raises(ValueError, match="ViTForImageClassification computes other features of ViTModel"):
        as_pretrained(model, "one")


def test_what_transformers_has_no_class_for_is_refused() -> None:
    model = tfold.MultiTask(nn.Sequential(nn.Linear(4, 4)), tfold.LoRA(1))
    model.add_task("one")
    with pytest.raises(TypeError, match="needs a backbone of transformers or timm, found Sequential"):
        as_pretrained(model, "one")
    model = tfold.MultiTask(bert(), tfold.LoRA(1)).eval()
    model.add_task("two", head=nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2)))
    with pytest.raises(ValueError, match="no class with one linear classifier on BertModel"):
        as_pretrained(model, "two")
