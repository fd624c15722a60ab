"""The promises of the design, for every method on every architecture: the laws of `taskfold.testing`."""

from __future__ import annotations

from functools import lru_cache

import pytest
import timm
import torch

import taskfold as tfold
from taskfold import MultiTask
from taskfold.methods import build, names
from taskfold.tasks import Leaves
from taskfold.testing import LAWS
from taskfold.testing._method import judge
from taskfold.testing._subject import Subject, images

from .cases import ATTENTION, CASES, NETWORKS, Case


def _tried(law: str, case: Case, network: str) -> bool:
    """All but what takes most of a minute in double precision."""
    if law != "gradients" or network in ATTENTION:
        return True
    if network == "resnet18":
        return True
    return network == "mobilenet-v2" and case.method == tfold.FTN(rank=3, init="xavier", alpha=1.0)


def _networks(law: str, case: Case) -> list[str]:
    return [name for name in case.networks if _tried(law, case, name)]


def _sampled(n: int, law: str, m: int, case: Case) -> str | None:
    """The network that a case tries a law on in every run: each law of each method is tried there once.

    The rows of one method take turns, and so do networks that convolve and those that attend; a row keeps to one of
    each kind, so that its laws ask one model.
    """
    rows = [other for other in CASES if other.method.name == case.method.name and _networks(law, other)]
    if not rows or rows[n % len(rows)] is not case:
        return None
    kinds = [[name for name in _networks(law, case) if (name in ATTENTION) == attends] for attends in (False, True)]
    kinds = [[name for name in names if name != "mobilenet-v2"] or names for names in kinds if names]
    names = kinds[(n + m) % len(kinds)]
    return names[m % len(names)]


TRIED = [
    pytest.param(
        law, case, network, id=f"{law}-{case}-{network}", marks=() if network == sampled else (pytest.mark.whole,)
    )
    for m, case in enumerate(CASES)
    for network in case.networks
    for n, law in enumerate(LAWS)
    for sampled in (_sampled(n, law, m, case),)
    if network in _networks(law, case)
]


@lru_cache(2)
def _subject(case: int, network: str) -> Subject:
    return Subject(CASES[case].method, network, NETWORKS[network])


@pytest.mark.parametrize(("law", "case", "network"), TRIED)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_law(law: str, case: Case, network: str) -> None:
    judge(law, _subject(CASES.index(case), network))


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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_copies_of_weights_have_the_rate_of_weights(case: Case) -> None:
    """At the rate of small factors the first steps destroy what was learned, and the training stays at chance."""
    torch.manual_seed(0)
    network = NETWORKS[case.networks[0]]()
    model = MultiTask(network, case.method, num_features=getattr(network, "num_features", None))
    model.add_task("one", head=2)
    weights = [one.detach() for one in network.parameters()]
    for leaves in (part for part in model.modules() if isinstance(part, Leaves)):
        for name, leaf in leaves.named_parameters():
            if leaf.requires_grad and leaf.dim() > 1 and any(torch.equal(leaf, weight) for weight in weights):
                assert leaves.groups[name].lr <= 1e-3, name


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
