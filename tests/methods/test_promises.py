"""The promises of the design, for every method on every architecture: the laws of `taskfold.testing`."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch

import taskfold as tfold
from taskfold import MultiTask
from taskfold.methods import build, names
from taskfold.testing import LAWS, check_method
from taskfold.testing._subject import Subject, images

from .cases import ATTENTION, CASES, NETWORKS, Case


def _tried(law: str, case: Case, network: str) -> bool:
    """All but what takes most of a minute in double precision."""
    if law != "gradients" or network in ATTENTION:
        return True
    if network == "resnet18":
        return True
    return network == "mobilenet-v2" and case.method == tfold.FTN(rank=3, init="xavier", alpha=1.0)


def _sampled(turn: int, case: Case) -> str:
    """Of the networks of a case one that convolves or one that attends, others for other cases and laws."""
    kinds = [[name for name in case.networks if (name in ATTENTION) == attends] for attends in (False, True)]
    kinds = [names for names in kinds if names]
    names = kinds[turn % len(kinds)]
    return names[turn // len(kinds) % len(names)]


TRIED = [
    pytest.param(
        law, case, network, id=f"{law}-{case}-{network}", marks=() if network == sampled else (pytest.mark.whole,)
    )
    for n, law in enumerate(LAWS)
    for m, case in enumerate(CASES)
    for tried in ([network for network in case.networks if _tried(law, case, network)],)
    for sampled in (_sampled(n + m, replace(case, networks=tuple(tried))) if tried else "",)
    for network in tried
]


@pytest.mark.parametrize(("law", "case", "network"), TRIED)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_law(law: str, case: Case, network: str) -> None:
    check_method(case.method, {network: NETWORKS[network]}, laws=[law])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_counts_are_exact(case: Case) -> None:
    for network, wanted in case.counts.items():
        with torch.device("meta"):
            backbone = timm.create_model(network, num_classes=0)
        assert tfold.count(backbone, case.method).adapter_total == wanted
    for network, wanted in case.bits.items():
        with torch.device("meta"):
            backbone = timm.create_model(network, num_classes=0)
        assert tfold.count(backbone, case.method).per_task["bits"] == wanted


def test_every_method_is_in_the_table() -> None:
    ours = {name for name in names() if type(build(name)).__module__.startswith("taskfold.")}  # not those of tests
    assert {case.method.name for case in CASES} >= ours


@pytest.fixture
def encoder() -> MultiTask:
    return Subject(tfold.FTNQueryValue(rank=4), "timm-vit", NETWORKS["timm-vit"]).stirred("a", "b")


def test_gradient_checkpointing_keeps_the_task(encoder: MultiTask) -> None:
    from torch.utils.checkpoint import checkpoint

    x = images(4).requires_grad_()
    wanted = torch.autograd.grad(encoder(x, task="a").sum(), x)[0]
    for block in encoder.backbone.blocks:  # type: ignore[union-attr]
        inner = type(block).forward.__get__(block)
        block.forward = lambda h, inner=inner, **_: checkpoint(
            inner, h, use_reentrant=False, context_fn=tfold.checkpoint_context
        )
    first, second = encoder(x, task="a").sum(), encoder(x, task="b").sum()
    torch.testing.assert_close(torch.autograd.grad(first, x)[0], wanted)
    assert not torch.allclose(torch.autograd.grad(second, x)[0], wanted)
