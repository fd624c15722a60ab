"""bitsandbytes' 4-bit layers write their own tensors as they run: weights packed for a CPU, biases of another type."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import taskfold as tfold

from .test_quantised import IDS, bert, exchanged, gradients, tuned, unpacked

bitsandbytes = pytest.importorskip("bitsandbytes")
pytestmark = pytest.mark.filterwarnings("ignore")  # of bitsandbytes about itself
METHODS = {"LoRA": tfold.LoRA(rank=2, layers="linear"), "BitFit": tfold.BitFit()}


def four_bit(computes: torch.dtype | None) -> nn.Module:
    network = bert()
    exchanged(network, bitsandbytes.nn.Linear4bit, quant_type="nf4", compute_dtype=computes)
    for layer in _layers(network):
        layer.support_avx512bf16_for_cpu = True  # as on CPUs that have it
    return network.eval()


def held(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.named_parameters()}


@pytest.mark.parametrize("computes", [torch.float32, torch.bfloat16, None])
@pytest.mark.parametrize("method", METHODS)
def test_no_pass_writes_the_backbone_or_a_task(method: str, computes: torch.dtype | None) -> None:
    network = four_bit(computes)
    before, known = held(network), tfold.fingerprint(network)
    model = tuned(network, METHODS[method])
    types = {name: tensor.dtype for name, tensor in model.named_parameters()}
    with torch.no_grad():
        alone = model(IDS, task="a")
        mixed = model(IDS, task=["a", "b", "a", "b"])
    assert (mixed[0] - alone[0]).abs().max() < 0.05 < (mixed[1] - alone[1]).abs().max()
    gradients(model)
    model.train()(IDS, task="a")
    after = held(network)
    assert all(
        torch.equal(after[name], tensor) and after[name].dtype == tensor.dtype for name, tensor in before.items()
    )
    assert tfold.fingerprint(network) == known
    assert types == {name: tensor.dtype for name, tensor in model.named_parameters()}


@pytest.mark.skipif(not bitsandbytes.functional.has_avx512bf16(), reason="the CPU has no AVX512-BF16")
def test_layers_that_their_user_has_run_and_packed_pass_gradients_on() -> None:
    network = four_bit(torch.float32)
    with torch.no_grad():
        network(IDS)
    assert any(getattr(layer.weight.quant_state, "packing_format_for_cpu", False) for layer in _layers(network))
    model = tuned(network, METHODS["LoRA"])
    wanted, found = gradients(tuned(unpacked(bert(), network), METHODS["LoRA"])), gradients(model)
    assert all((found[name] - one).norm() <= 0.05 * one.norm() for name, one in wanted.items())


def _layers(network: nn.Module) -> list[Any]:
    return [layer for layer in network.modules() if isinstance(layer, bitsandbytes.nn.Linear4bit)]
