"""Adapted language models as one graph: compiled, exported."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._export.serde.serialize import SerializeError
from torch.export import ExportedProgram

import taskfold as tfold

from .networks import KINDS, network
from .test_serving import METHODS, TASKS, inputs, labels

pytestmark = pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects:UserWarning")


class Call(nn.Module):
    """A module of named tensors alone, as exporting wants it: everything else is settled."""

    def __init__(self, module: nn.Module, **settled: Any) -> None:
        super().__init__()
        self.module = module
        self.settled = settled

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor | None = None) -> Tensor:
        more = {} if decoder_input_ids is None else {"decoder_input_ids": decoder_input_ids}
        given = {"input_ids": input_ids, "attention_mask": attention_mask, **more}
        return self.module(**given, **self.settled, use_cache=False).logits


def small(kind: str, method: str) -> tfold.MultiTask:
    """One block, of each kind that there is, and three adapted layers in each: tracing takes its time."""
    whole = network(kind)
    for name in ("num_layers", "num_decoder_layers", "num_hidden_layers"):
        if name in whole.config.to_dict():
            setattr(whole.config, name, 1)
    layers = METHODS[method].with_settings(targets=("*q", "*v", "*wo", "*q_proj", "*v_proj", "*down_proj"))
    made = tfold.MultiTask(type(whole)(whole.config), layers)
    for name in "abc":
        made.add_task(name)
    return made.eval()


def tensors(kind: str) -> dict[str, Tensor]:
    given = inputs(kind)
    return {**given, "decoder_input_ids": labels(kind, given)} if kind == "encoder-decoder" else given


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_as_one_graph(kind: str) -> None:
    made, given = small(kind, "tensorpoly-i"), tensors(kind)
    with torch.no_grad():
        alone, mixed = (made(**given, task=task, use_cache=False).logits for task in ("b", TASKS))
        torch.compiler.reset()
        compiled = torch.compile(made, fullgraph=True, backend="eager")
        for _ in range(2):  # tasks are never mixed up
            torch.testing.assert_close(compiled(**given, task="b", use_cache=False).logits, alone)
            torch.testing.assert_close(compiled(**given, task=TASKS, use_cache=False).logits, mixed)
    assert not torch.allclose(alone, mixed)


@pytest.mark.slow
def test_gradients_of_a_compiled_mixed_batch() -> None:
    made, given = small("decoder-only", "poly").train(), tensors("decoder-only")

    def gradients(call: Any) -> dict[str, Tensor]:
        made.zero_grad()
        call(**given, task=TASKS, use_cache=False).logits.square().sum().backward()
        return {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}

    expected = gradients(made)
    torch.compiler.reset()
    found = gradients(torch.compile(made, fullgraph=True, backend="aot_eager"))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4 * gradient.abs().max().item(), msg=name)


def through_a_file(program: ExportedProgram, plain: nn.Module, given: dict[str, Tensor]) -> ExportedProgram:
    """The program as a file holds it; as it is where no file holds the plain network either: masks made under vmap."""
    try:
        return torch.export.load(saved(program))
    except SerializeError:
        with pytest.raises(SerializeError, match="flat_apply"):
            saved(torch.export.export(plain, (), given))
        return program


def saved(program: ExportedProgram) -> io.BytesIO:
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    ("kind", "what", "strict"),
    [
        ("encoder-decoder", "one", False),
        ("encoder-decoder", "mixed", False),
        ("decoder-only", "mixed", False),
        pytest.param("decoder-only", "one", True, marks=pytest.mark.whole),
        pytest.param("encoder-decoder", "mixed", True, marks=pytest.mark.whole),
    ],
)
def test_exported_for_batches_of_any_size(kind: str, what: str, strict: bool) -> None:
    made, given = small(kind, "tensorpoly-i"), tensors(kind)
    made(**given, task=TASKS, use_cache=False)
    call = Call(made.for_task("b")) if what == "one" else Call(made, task=TASKS)
    sizes = {0: torch.export.Dim("batch", min=2, max=64)} if what == "one" else {}
    with torch.no_grad():
        program = torch.export.export(call.eval(), (), given, dynamic_shapes=dict.fromkeys(given, sizes), strict=strict)
        found = through_a_file(program, Call(made.backbone).eval(), given).module()
        if what == "one":
            given = {name: tensor[:3] for name, tensor in given.items()}
        torch.testing.assert_close(found(**given), call(**given), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(found(**given), made.backbone(**given, use_cache=False).logits)


def test_a_folded_task_exports_as_the_plain_network(tmp_path_factory: pytest.TempPathFactory) -> None:
    made, given = small("decoder-only", "tensorpoly-ii"), tensors("decoder-only")
    with torch.no_grad():
        program = torch.export.export(Call(made.fold("b")).eval(), (), given)
        expected = made(**given, task="b", use_cache=False).logits
        torch.testing.assert_close(program.module()(**given), expected, rtol=1e-4, atol=1e-4)
    assert len(program.state_dict) == len(made.backbone.state_dict())
