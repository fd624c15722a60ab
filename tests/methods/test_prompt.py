"""Prompt tuning against PEFT and against the formula; its behaviour with caches, masks and odd networks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

import taskfold as tfold
from taskfold.layers import parts_of
from taskfold.testing import check_method

from .cases import ATTENTION
from .test_promises import images

WORDS = 30


def gpt2(layers: int = 2) -> nn.Module:
    off: dict[str, Any] = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    tokens: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 29, "pad_token_id": 0}
    return GPT2LMHeadModel(
        GPT2Config(n_layer=layers, n_head=2, n_embd=16, vocab_size=WORDS, n_positions=64, **off, **tokens)
    )


def llama() -> nn.Module:
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    tokens: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 29, "pad_token_id": 0}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=1, vocab_size=WORDS, **tokens))


def mamba() -> nn.Module:
    sizes: dict[str, Any] = {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "initializer_range": 0.5}
    return MambaForCausalLM(MambaConfig(**sizes, vocab_size=WORDS, eos_token_id=29, pad_token_id=0))


T5: dict[str, Any] = {
    "d_model": 16,
    "d_ff": 32,
    "d_kv": 6,
    "num_layers": 2,
    "num_heads": 2,
    "vocab_size": WORDS,
    "dropout_rate": 0.0,
}


def t5() -> nn.Module:
    config = T5Config(**T5)
    config.decoder_start_token_id = 0  # type: ignore[attr-defined]
    return T5ForConditionalGeneration(config)


def bert() -> nn.Module:
    off: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    return BertModel(BertConfig(**sizes, **off, vocab_size=WORDS))


def texts() -> dict[str, Tensor]:
    """Four texts, two of them padded on the left."""
    ids = torch.arange(24).reshape(4, 6) * 7 % (WORDS - 2) + 1
    mask = torch.ones_like(ids)
    mask[1, :2] = mask[2, :1] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}


def words(rows: int) -> Tensor:
    return torch.arange(6 * rows).reshape(rows, 6) * 7 % (WORDS - 2) + 1


def model_of(build: Callable[[], nn.Module], method: tfold.Method) -> tfold.MultiTask:
    """Two tasks that differ, in double precision."""
    torch.manual_seed(0)
    model = tfold.MultiTask(build().double().eval(), method).eval()
    for name in ("a", "b"):
        model.add_task(name)
    with torch.no_grad():
        for leaf in model.tasks.parameters():
            leaf.add_(torch.randn_like(leaf))
    return model.double()


def output_of(made: Any) -> Tensor:
    return made.logits if "logits" in made else made.last_hidden_state


def gradients(output: Tensor, leaves: list[Any]) -> list[Tensor]:
    toward = torch.arange(output.numel(), dtype=output.dtype).reshape(output.shape).cos()
    return list(torch.autograd.grad((output * toward).sum(), leaves))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")  # PEFT asks for it
@pytest.mark.parametrize(("build", "kind"), [(gpt2, "CAUSAL_LM"), (llama, "CAUSAL_LM"), (t5, "SEQ_2_SEQ_LM")])
def test_the_same_as_peft(build: Callable[[], nn.Module], kind: str) -> None:
    peft = pytest.importorskip("peft", minversion="0.21")
    model = model_of(build, tfold.PromptTuning(tokens=3, decoder=False))
    twin = build().double().eval()
    twin.load_state_dict(model.backbone.state_dict())
    submodules = {"num_transformer_submodules": 1}
    theirs = peft.get_peft_model(twin, peft.PromptTuningConfig(task_type=kind, num_virtual_tokens=3, **submodules))
    prompt = theirs.double().prompt_encoder["default"].embedding.weight
    (mine,) = model["a"].parameters()
    with torch.no_grad():
        prompt.copy_(mine)
    given: dict[str, Any] = texts() | ({"decoder_input_ids": words(4)[:, :4]} if build is t5 else {"use_cache": False})
    found, wanted = (output_of(made) for made in (model(**given, task="a"), theirs(**given)))
    wanted = wanted[:, -found.shape[1] :]
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradients(found, [mine]), gradients(wanted, [prompt]))


def test_the_decoder_has_a_table_of_its_own() -> None:
    """T-Few's form, by the formula: both inputs are embedded and lengthened by hand."""
    model = model_of(t5, tfold.PromptTuning(tokens=3))
    first, second = model["a"].parameters()
    net: Any = model.backbone
    given, decoded = texts(), words(4)[:, :4]

    def before(rows: Tensor, ids: Tensor) -> Tensor:
        return torch.cat([rows.expand(4, -1, -1), net.shared(ids)], 1)

    mask = torch.cat([torch.ones(4, 3), given["attention_mask"]], 1)
    made = net(
        inputs_embeds=before(first, given["input_ids"]),
        attention_mask=mask,
        decoder_inputs_embeds=before(second, decoded),
    )
    found, wanted = model(**given, decoder_input_ids=decoded, task="a").logits, made.logits[:, 3:]
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradients(found, [first, second]), gradients(wanted, [first, second]))


@pytest.mark.parametrize("build", [gpt2, t5, bert])
def test_mixed_batches_banks_and_broadcast_are_the_tasks(build: Callable[[], nn.Module]) -> None:
    model, rows = model_of(build, tfold.PromptTuning(tokens=3)), ["b", "a", "a", "b"]
    given: dict[str, Any] = texts() | ({"decoder_input_ids": words(4)[:, :4]} if build is t5 else {})
    given |= {} if build is bert else {"use_cache": False}
    with torch.no_grad():
        alone = {name: output_of(model(**given, task=name)) for name in "ab"}
        wanted = torch.stack([alone[name][n] for n, name in enumerate(rows)])
        assert (alone["a"] - alone["b"]).abs().max() > 0.001
        torch.testing.assert_close(output_of(model(**given, task=rows)), wanted)
        torch.testing.assert_close(output_of(model.bank()(**given, task=rows)), wanted)
        for name, made in model(**given, task=["a", "b"], broadcast=True).items():
            torch.testing.assert_close(output_of(made), alone[name])


@pytest.mark.parametrize("build", [gpt2, llama, mamba, t5])
@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_generates_with_a_cache_as_without(build: Callable[[], nn.Module], settings: dict[str, int]) -> None:
    model, rows = model_of(build, tfold.PromptTuning(tokens=3)), ["b", "a", "a", "b"]
    length = {"max_new_tokens": 5, "min_new_tokens": 5}
    alone = {name: model.generate(**texts(), task=name, **length, **settings) for name in "ab"}
    for name, found in alone.items():
        assert torch.equal(found, model.generate(**texts(), task=name, use_cache=False, **length, **settings))
    mixed = model.generate(**texts(), task=rows, **length, **settings)
    assert torch.equal(mixed, torch.stack([alone[name][n] for n, name in enumerate(rows)]))


@pytest.mark.parametrize("method", [tfold.PromptTuning, tfold.PrefixTuning])
@pytest.mark.parametrize("build", [gpt2, llama, t5])
@torch.no_grad()
def test_a_mixed_batch_goes_on_with_its_cache(build: Callable[[], nn.Module], method: type[tfold.Method]) -> None:
    """In one pass: task by task, a cache can't be put together."""
    model, tasks, given = model_of(build, method()), ["b", "a", "a", "b"], texts()

    def second(run: tfold.MultiTask | tfold.Bank, task: str | list[str]) -> Tensor:
        more = {"decoder_input_ids": words(4)[:, :3]} if build is t5 else {}
        first = run(**given, **more, task=task, use_cache=True)
        mask, word = given["attention_mask"], words(4)[:, -1:]
        after: dict[str, Any] = {"input_ids": word, "attention_mask": nn.functional.pad(mask, (0, 1), value=1)}
        if build is t5:
            encoded = (first.encoder_last_hidden_state,)
            after = {"decoder_input_ids": word, "attention_mask": mask, "encoder_outputs": encoded}
        return run(**after, past_key_values=first.past_key_values, task=task).logits

    alone = {name: second(model, name) for name in "ab"}
    assert (alone["a"] - alone["b"]).abs().max() > 0.001
    for run in (model, model.bank()):
        wanted = torch.stack([alone[name][n] for n, name in enumerate(tasks)])
        torch.testing.assert_close(second(run, tasks), wanted)


@pytest.mark.parametrize("network", ["timm-vit", "hf-vit", "torchvision-vit"])
def test_a_vision_transformer_has_rows_before_its_tokens(network: str) -> None:
    """By hooks: rows come in before the first block, and go out behind the last one."""
    model = model_of(ATTENTION[network], tfold.PromptTuning(tokens=3))
    (rows,) = model["a"].parameters()
    twin = copy.deepcopy(model.backbone)
    blocks = next(m for m in twin.modules() if isinstance(m, (nn.ModuleList, nn.Sequential)) and len(m) == 2)
    blocks[0].register_forward_pre_hook(lambda _, given: (torch.cat([rows.expand(2, -1, -1), given[0]], 1),))
    blocks[1].register_forward_hook(lambda _, __, made: without_rows(made))
    found, wanted = (pictures(run) for run in (lambda x: model(x, task="a"), twin))
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradients(found, [rows]), gradients(wanted, [rows]))
    assert (found - pictures(model.backbone)).abs().max() > 1e-6


def without_rows(made: Any) -> Any:
    """What a block puts out, without three rows; some versions of transformers wrap it in a tuple."""
    return made[:, 3:] if isinstance(made, Tensor) else (made[0][:, 3:], *made[1:])


def pictures(run: Callable[[Tensor], Any]) -> Tensor:
    made = run(images(2).double())
    return made if isinstance(made, Tensor) else made.last_hidden_state


class Read(nn.Module):
    """A language model's mean state, for heads."""

    num_features = 16

    def __init__(self) -> None:
        super().__init__()
        self.model: Any = gpt2(1).transformer

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids, use_cache=False).last_hidden_state.mean(1)


def test_laws_on_text() -> None:
    laws = ["isolation", "learning", "file", "bank"]
    check_method(tfold.PromptTuning(tokens=2), {"gpt2": Read}, inputs=words, laws=laws)
    shared = tfold.PromptTuning(tokens=2, sharing="shared", init="normal")
    check_method(shared, {"gpt2": Read}, inputs=words, laws=["learning", "counts"])


def test_a_task_starts_from_words() -> None:
    model = tfold.MultiTask(t5(), tfold.PromptTuning(tokens=4))
    table: Tensor = model.backbone.get_parameter("shared.weight")
    for rows in model.add_task("one").parameters():
        apart = (rows[:, None] - table[None]).abs().sum(-1)
        assert (apart == 0).any(1).all()
        assert apart.argmin(1).min() >= 3
    with torch.device("meta"):
        assert tfold.count(t5(), tfold.PromptTuning(tokens=4, decoder=False)).adapter_total == 4 * 16


def test_an_encoder_alone_puts_out_its_text() -> None:
    model = model_of(lambda: T5EncoderModel(T5Config(**T5)), tfold.PromptTuning(tokens=3))
    assert model(words(2), task="a").last_hidden_state.shape == (2, 6, 16)
    states = model_of(bert, tfold.PromptTuning(tokens=3))(words(2), task="a", output_hidden_states=True)
    assert [tuple(one.shape) for one in states.hidden_states] == [(2, 6, 16)] * 3
    pooled = states.last_hidden_state[:, 0]
    bert_of: Any = model_of(bert, tfold.PromptTuning(tokens=3)).backbone
    torch.testing.assert_close(states.pooler_output, bert_of.pooler(pooled[:, None]))


@pytest.mark.filterwarnings("ignore:GPT2LMHeadModel answers mixed batches task by task:UserWarning")
def test_prompts_of_two_lengths_run_task_by_task() -> None:
    """Whether the network has to be called for each task, or its blocks alone are: versions of it differ in that."""
    model = tfold.MultiTask(gpt2().eval(), tfold.PromptTuning(init="normal")).eval()
    for name, tokens in {"a": 2, "b": 4}.items():
        model.add_task(name, tokens=tokens)
    given = {"input_ids": words(4), "use_cache": False}
    seen: list[torch.Size] = []
    with torch.no_grad():
        alone = {name: model(**given, task=name).logits for name in "ab"}
        model.backbone.get_submodule("transformer.h.0").register_forward_hook(lambda _, x, __: seen.append(x[0].shape))
        found = model(**given, task=["b", "a", "a", "b"]).logits
    assert sorted(seen[-2:]) == [(2, 6 + 2, 16), (2, 6 + 4, 16)]
    torch.testing.assert_close(found, torch.stack([alone[name][n] for n, name in enumerate("baab")]))
    with pytest.raises(ValueError, match="which no row holds together"):
        model.bank()
    model.add_task("none", method=tfold.LoRA(rank=2, layers="linear"))
    with pytest.raises(ValueError, match=r"rows .* that others do not have"):
        model.bank(["a", "none"])
    with pytest.raises(ValueError, match="are input, not weight"):
        model.fold("a")
    assert not model.foldable("a")


@pytest.mark.parametrize("method", [tfold.PromptTuning, tfold.PrefixTuning])
def test_rows_of_two_lengths_before_an_encoder_run_task_by_task(method: type[tfold.Method]) -> None:
    """What the encoder puts out is longer for one of them."""
    model = tfold.MultiTask(t5(), method(tokens=3)).eval()  # type: ignore[call-arg]
    for name, tokens in {"a": 3, "long": 5}.items():
        for parameter in model.add_task(name, tokens=tokens).parameters():
            parameter.data.add_(torch.randn_like(parameter))
    settings = {"min_new_tokens": 4, "max_new_tokens": 4, "do_sample": False}
    with pytest.warns(UserWarning, match=r"'encoder' puts out \[.*\] for rows of one task, and \[.*\] for those of"):
        found = model.generate(input_ids=words(3), task=["a", "long", "a"], **settings)
    alone = [
        model.generate(input_ids=words(3)[n : n + 1], task=task, **settings) for n, task in enumerate(["a", "long"])
    ]
    assert torch.equal(found[:2], torch.cat(alone))


def test_a_vision_transformer_mixes_tasks_with_and_without_rows() -> None:
    model = tfold.MultiTask(ATTENTION["timm-vit"](), tfold.PromptTuning(tokens=2)).eval()
    model.add_task("two", head=3)
    model.add_task("three", head=3, tokens=3)
    model.add_task("none", head=3, method=tfold.HeadOnly())
    x = torch.randn(4, 3, 32, 32)
    names = ["two", "none", "three", "two"]
    with pytest.warns(UserWarning, match="task by task"):
        found = model(x, task=names)
    for n, name in enumerate(names):
        torch.testing.assert_close(found[n], model(x[n : n + 1], task=name)[0])


def test_a_file_is_the_task(tmp_path: Path) -> None:
    model = model_of(t5, tfold.PromptTuning(tokens=3))
    model.save_task("a", tmp_path / "a.safetensors")
    other = tfold.MultiTask(model.backbone)
    other.load_task(tmp_path / "a.safetensors")
    given = texts() | {"decoder_input_ids": words(4)}
    torch.testing.assert_close(other.eval()(**given, task="a").logits, model(**given, task="a").logits)
    assert [part.intervention.name for _, part in parts_of(other["a"])] == ["before", "before"]
