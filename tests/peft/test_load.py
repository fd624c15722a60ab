"""Adapters that PEFT saved give PEFT's outputs here."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import taskfold as tfold

peft = pytest.importorskip("peft", minversion="0.21")

from .networks import adapter, answer, built, inputs  # noqa: E402

ATTENTION = {"bert": ["query", "value"], "gpt2": ["c_attn"], "llama": ["q_proj", "v_proj"], "t5": ["q", "v"]}
ATTENTION["convolutional"] = ["stem", "body", "points", "fc"]


def lora(name: str, **settings: Any) -> partial[Any]:
    return partial(peft.LoraConfig, **{"r": 4, "lora_alpha": 6, "target_modules": ATTENTION[name], **settings})


PATTERNS = {"rank_pattern": {"1.*query": 2}, "alpha_pattern": {"0.*value": 3.0}}
CASES: dict[str, tuple[str, partial[Any]]] = {
    **{f"lora-{name}": (name, lora(name)) for name in ATTENTION},
    "lora-patterns": ("bert", lora("bert", **PATTERNS)),
    "lora-rslora": ("llama", lora("llama", use_rslora=True, target_modules="all-linear")),
    "lora-rslora-patterns": ("bert", lora("bert", use_rslora=True, use_dora=True, **PATTERNS)),
    "lora-some-layers": ("llama", lora("llama", layers_to_transform=[1], layers_pattern="layers")),
    "lora-excluded": ("llama", lora("llama", target_modules="all-linear", exclude_modules=["o_proj", ".*layers.0.*"])),
    "lora-nested": ("gpt2", lora("gpt2", target_modules=["c_attn", "c_fc"], modules_to_save=["mlp"])),
    "lora-tied": ("gpt2", lora("gpt2", target_modules=["c_attn"], modules_to_save=["wte"])),
    "lora-mica": ("llama", lora("llama", init_lora_weights="mica")),
    "lora-everything": ("gpt2", lora("gpt2", target_modules=["wte", "c_fc", "c_proj", "lm_head"])),
    "lora-bias": ("bert", lora("bert", bias="lora_only")),
    "lora-biases": ("convolutional", lora("convolutional", bias="all")),
    "lora-classifier": ("bert", lora("bert", task_type="SEQ_CLS")),
    "lora-modules": ("convolutional", lora("convolutional", target_modules=["body"], modules_to_save=["bn", "fc"])),
    "dora-linear": ("bert", lora("bert", use_dora=True)),
    "dora-conv1d": ("gpt2", lora("gpt2", use_dora=True)),
    "dora-convolutions": ("convolutional", lora("convolutional", use_dora=True)),
    "dora-embedding": ("gpt2", lora("gpt2", use_dora=True, target_modules=["wpe"])),
    "ia3-t5": ("t5", partial(peft.IA3Config, target_modules=["k", "v", "wo"], feedforward_modules=["wo"])),
    "ia3-gpt2": (
        "gpt2",
        partial(peft.IA3Config, target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"]),
    ),
    "ia3-conv": (
        "convolutional",
        partial(peft.IA3Config, target_modules=["body", "fc", "points"], feedforward_modules=["points"]),
    ),
    "ln-bert": ("bert", partial(peft.LNTuningConfig, target_modules=["LayerNorm"], task_type="SEQ_CLS")),
    "ln-llama": ("llama", partial(peft.LNTuningConfig, target_modules=["input_layernorm", "model.norm"])),
    "prompt-gpt2": ("gpt2", partial(peft.PromptTuningConfig, task_type="CAUSAL_LM", num_virtual_tokens=3)),
    "prompt-llama": ("llama", partial(peft.PromptTuningConfig, task_type="CAUSAL_LM", num_virtual_tokens=3)),
    "prefix-gpt2": ("gpt2", partial(peft.PrefixTuningConfig, task_type="CAUSAL_LM", num_virtual_tokens=3)),
    "loha-linear": (
        "bert",
        partial(peft.LoHaConfig, r=3, alpha=5, target_modules=["query", "dense"], alpha_pattern={"query": 2}),
    ),
    "loha-conv": ("convolutional", partial(peft.LoHaConfig, r=2, target_modules=["body", "points"])),
    "loha-tucker": ("convolutional", partial(peft.LoHaConfig, r=2, target_modules=["body"], use_effective_conv2d=True)),
    "lokr-linear": (
        "llama",
        partial(peft.LoKrConfig, r=2, alpha=3, target_modules=["q_proj", "up_proj"], decompose_both=True),
    ),
    "lokr-full": ("bert", partial(peft.LoKrConfig, r=16, target_modules=["query"])),
    "lokr-conv": ("convolutional", partial(peft.LoKrConfig, r=2, target_modules=["body"], use_effective_conv2d=True)),
    "fourier": ("llama", partial(peft.FourierFTConfig, n_frequency=20, target_modules=["q_proj", "up_proj"])),
    "fourier-gpt2": (
        "gpt2",
        partial(
            peft.FourierFTConfig,
            n_frequency=30,
            n_frequency_pattern={"0.*c_fc": 9},
            random_loc_seed=3,
            scaling=90.0,
            target_modules=["c_fc"],
        ),
    ),
    "poly": ("bert", partial(peft.PolyConfig, r=3, n_skills=3, target_modules=["query", "value"])),
    "poly-heads": ("t5", partial(peft.PolyConfig, r=2, n_skills=3, n_splits=2, n_tasks=3, target_modules=["q", "wo"])),
    "vera": ("llama", partial(peft.VeraConfig, r=6, target_modules=["q_proj", "up_proj"])),
    "vera-seed": (
        "gpt2",
        partial(peft.VeraConfig, r=6, target_modules=["c_attn"], projection_prng_key=5, save_projection=False),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_answers_as_in_peft(case: str, tmp_path: Path) -> None:
    name, config = CASES[case]
    theirs = adapter(name, config(), tmp_path / "one")
    batch = inputs(name)
    with torch.no_grad():
        told = {"poly": 0, "poly-heads": 2}.get(case)
        run = theirs if told is None else partial(theirs.base_model, task_ids=torch.tensor([told] * 3))
        expected = answer(run(**batch))
        model = tfold.MultiTask(built(name)).eval()
        model.load_peft(tmp_path / "one", task_id=told or None)
        found = answer(model(**batch, task="one"))
        plain = answer(built(name)(**batch))
    expected = expected[:, expected.shape[1] - found.shape[1] :] if expected.dim() == 3 else expected
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, plain, atol=1e-3)
    model.save_task("one", tmp_path / "one.safetensors")
    again = tfold.MultiTask(built(name)).eval()
    again.load_task(tmp_path / "one.safetensors")
    with torch.no_grad():
        assert torch.equal(answer(again(**batch, task="one")), found)


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_that_began_as_eva(tmp_path: Path) -> None:
    config = lora("llama", init_lora_weights="eva", eva_config=peft.EvaConfig(rho=2.0))()
    theirs = peft.get_peft_model(built("llama"), config)
    torch.manual_seed(1)
    batches = [{**inputs("llama", 8), "attention_mask": torch.ones(8, 7, dtype=torch.long)} for _ in range(4)]
    peft.initialize_lora_eva_weights(theirs, batches, show_progress_bar=False)
    for name, tensor in theirs.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(tensor, 0, 0.2)
    theirs.eval().save_pretrained(str(tmp_path / "one"))
    model = tfold.MultiTask(built("llama")).eval()
    model.load_peft(tmp_path / "one")
    batch = inputs("llama")
    with torch.no_grad():
        expected = answer(theirs(**batch))
        torch.testing.assert_close(answer(model(**batch, task="one")), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_which_task_of_an_adapter(tmp_path: Path) -> None:
    adapter("bert", peft.PolyConfig(r=2, n_tasks=2, target_modules=["query"]), tmp_path / "two")
    adapter("bert", lora("bert")(), tmp_path / "lora")
    model = tfold.MultiTask(built("bert"))
    for task_id in (None, 2, -1):
        with pytest.raises(ValueError, match=rf"holds 2 tasks; say which .*, found {task_id}"):
            model.load_peft(tmp_path / "two", task_id=task_id)
    with pytest.raises(ValueError, match="type LORA is one task, found task_id=0"):
        model.load_peft(tmp_path / "lora", task_id=0)
    assert not model.tasks


def test_an_adapter_of_another_backbone_is_said_to_be_one(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    theirs = peft.get_peft_model(built("bert"), lora("bert")())
    theirs.peft_config["default"].base_model_name_or_path = "someone/bert-small"
    theirs.save_pretrained(str(tmp_path / "one"))
    recwarn.clear()
    for held in ("else/BERT-small", "cache/models--someone--bert-small/snapshots/1f", str(tmp_path), ""):
        network = built("bert")
        network.name_or_path = held
        tfold.MultiTask(network).load_peft(tmp_path / "one")
    assert not recwarn.list
    network.name_or_path = "someone/bert-large"
    with pytest.warns(UserWarning, match="trained on 'someone/bert-small', and the backbone is 'someone/bert-large'"):
        tfold.MultiTask(network).load_peft(tmp_path / "one")
