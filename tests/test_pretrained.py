"""Tasks as plain networks of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import nn

import taskfold as tfold
from taskfold.pretrained import as_pretrained
from taskfold.problems import MultiLabel, Problem, Regression

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::taskfold.AdaptationWarning")
WORDS = ["[PAD]", "[UNK]", "a", "good", "bad", "film"]


def bert(kind: str = "BertModel", **settings: int) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.BertConfig(vocab_size=len(WORDS), initializer_range=0.3, **sizes, **settings)
    return getattr(transformers, kind)(config).eval()


def first_token(output: Any) -> torch.Tensor:
    return output.last_hidden_state[:, 0]


def last_token(output: Any) -> torch.Tensor:
    return output.last_hidden_state[:, -1]


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


def test_a_folder_has_the_embeddings_that_its_reader_does_not_tie(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    words = {"vocab_size": 12, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    config = transformers.BartConfig(d_model=8, encoder_ffn_dim=8, decoder_ffn_dim=8, **sizes, **words)
    model = tfold.MultiTask(
        transformers.BartForConditionalGeneration(config).eval(),
        tfold.LoRA(2, layers="any", targets="lm_head", init="normal"),
    ).eval()
    model.add_task("mood")
    as_pretrained(model, "mood").save_pretrained(tmp_path)
    again = transformers.BartForConditionalGeneration.from_pretrained(tmp_path).eval()
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, model(ids, task="mood").logits, rtol=1e-5, atol=1e-5)


def test_tensors_that_the_librarys_class_lacks_are_refused() -> None:
    sizes = {"d_model": 8, "d_kv": 4, "num_heads": 2, "num_layers": 1, "d_ff": 8, "vocab_size": 12}
    model = tfold.MultiTask(transformers.T5Model(transformers.T5Config(**sizes)), tfold.BitFit()).eval()
    model.add_task("mood")
    with pytest.raises(ValueError, match=r"its fold has 'decoder.*\.bias', and T5Model does not"):
        as_pretrained(model, "mood")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_images_in_any_type_and_random_numbers_stay(dtype: torch.dtype) -> None:
    config = transformers.ConvNextConfig(hidden_sizes=[4, 4, 4, 8], depths=[1, 1, 1, 1], image_size=32)
    network = transformers.ConvNextModel(config).eval().to(dtype)
    model = tfold.MultiTask(network, tfold.LoRA(2, layers="linear", init="normal")).eval()
    model.add_task("one", head=3)
    state = torch.get_rng_state()
    made = as_pretrained(model, "one")
    assert torch.equal(torch.get_rng_state(), state)
    x = torch.randn(2, 3, 32, 32).to(dtype)
    with torch.no_grad():
        torch.testing.assert_close(made(x).logits, model.fold("one")(x))


def test_a_classifier_of_two_teachers_is_one_of_the_classes() -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    network = transformers.DeiTModel(transformers.DeiTConfig(image_size=16, patch_size=8, **sizes), False).eval()
    model = tfold.MultiTask(network, tfold.LoRA(2, init="normal"), features=first_token, num_features=16).eval()
    model.add_task("one", head=3)
    assert type(as_pretrained(model, "one")).__name__ == "DeiTForImageClassification"


def test_a_classifier_that_finds_the_last_token_by_padding_takes_one_row_without() -> None:
    sizes = {"vocab_size": 12, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
    network = transformers.GPT2Model(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).eval()
    model = tfold.MultiTask(network, tfold.LoRA(2, init="normal"), features=last_token, num_features=8).eval()
    model.add_task("mood", head=nn.Linear(8, 2, bias=False))
    made, ids = as_pretrained(model, "mood"), torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        torch.testing.assert_close(made(ids).logits, model(ids, task="mood"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("problem", "said", "score"),
    [
        (Regression(), "regression", lambda logits: logits),
        (MultiLabel(), "multi_label_classification", torch.sigmoid),
    ],
)
def test_a_pipeline_makes_scores_by_the_tasks_problem(problem: Problem, said: str, score: Any) -> None:
    model = tfold.MultiTask(bert(), tfold.LoRA(2, layers="linear", init="normal")).eval()
    model.add_task("mood", head=2, labels=("bad", "good")).info.problem = problem.as_json()
    made = as_pretrained(model, "mood")
    assert made.config.problem_type == said
    pipeline = transformers.TextClassificationPipeline(model=made, tokenizer=Mock(), device=torch.device("cpu"))
    ids = torch.tensor([[2, 4, 5]])
    with torch.no_grad():
        found = pipeline.postprocess(made(ids), top_k=None, _legacy=False)
        wanted = score(model(ids, task="mood"))[0]
    assert {one["label"]: one["score"] for one in found} == pytest.approx(
        dict(zip(("bad", "good"), wanted.tolist(), strict=True)), abs=1e-5
    )


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
