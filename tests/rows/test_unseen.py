"""The look at a first batch leaves no trace in checkpoints, counters, derivatives, but runs the hooks that it needs."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacfwd, jvp
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
from torch.utils.flop_counter import FlopCounterMode

import taskfold as tfold

from .networks import Rows
from .test_rows import METHODS, built, rows_of

NAMES = list("abcab")


class Plain(Rows):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


def mixed(model: Any, x: Tensor) -> Tensor:
    return torch.stack(list(model(x, task=NAMES)))


def _policy(_: Any, step: Any, *__: Any, **___: Any) -> CheckpointPolicy:
    saved = step.overloadpacket.__name__ in ("mm", "addmm", "bmm", "baddbmm", "tanh")
    return CheckpointPolicy.MUST_SAVE if saved else CheckpointPolicy.PREFER_RECOMPUTE


SELECTIVE = partial(create_selective_checkpoint_contexts, _policy)


@pytest.mark.parametrize("how", [{}, {"context_fn": SELECTIVE}], ids=["all", "selective"])
def test_checkpoint_around_a_first_mixed_batch(how: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model, x = built(Plain(), METHODS["lora"]).train(), torch.randn(5, 6)
    found: list[dict[str, Tensor]] = []
    for run in (partial(checkpoint, partial(mixed, model), use_reentrant=False, **how), partial(mixed, model)):
        model.zero_grad()
        run(x).square().sum().backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert found[0]
    torch.testing.assert_close(found[0], found[1])


def test_a_counter_counts_what_answers() -> None:
    torch.manual_seed(0)
    model, x, counts = built(Plain(), METHODS["lora"]), torch.randn(5, 6), []
    for _ in range(2):
        with FlopCounterMode(display=False) as counter:
            mixed(model, x)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def derivatives(model: Any, x: Tensor) -> dict[str, Any]:
    own = {name: p.detach() for name, p in model.named_parameters() if name.startswith("tasks.")}

    def loss(held: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.stack(functional_call(model, held, (x,), {"task": NAMES})).square().sum()

    return {
        "grad": lambda: grad(lambda x: mixed(model, x).square().sum())(x),
        "jvp": lambda: jvp(partial(mixed, model), (x,), (x.sin(),))[1],
        "jacfwd": lambda: jacfwd(partial(mixed, model))(x),
        "hessian": lambda: hessian(lambda x: mixed(model, x).square().sum())(x),
        "parameters": lambda: grad(loss)(own, x),
        "dual": lambda: _dual(model, x),
    }


def _dual(model: Any, x: Tensor) -> Tensor:
    with torch.autograd.forward_ad.dual_level():
        made = mixed(model, torch.autograd.forward_ad.make_dual(x, x.sin()))
        return torch.autograd.forward_ad.unpack_dual(made).tangent


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")  # torch's own, of jvp
@pytest.mark.parametrize("way", ["grad", "jvp", "jacfwd", "hessian", "parameters", "dual"])
def test_derivatives_of_a_first_mixed_batch(way: str) -> None:
    found = []
    for before in (False, True):
        torch.manual_seed(0)
        model, x = built(Plain(), METHODS["lora"]), torch.randn(5, 6)
        if before:
            mixed(model, x)
        found.append(derivatives(model, x)[way]())
    torch.testing.assert_close(found[0], found[1])


class Words(nn.Module):
    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.words(x)).mean(1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_first_mixed_batch_under_autocast(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, x = built(Words(), tfold.FineTuning()), torch.randint(9, (5, 5))
    with torch.autocast("cpu", dtype=dtype):
        torch.testing.assert_close(mixed(model, x), rows_of(model, x, NAMES), rtol=0.05, atol=0.05)
    torch.testing.assert_close(mixed(model, x), rows_of(model, x, NAMES))


class NeedsAutocast(Plain):
    """Two types, which only autocast brings together."""

    def __init__(self) -> None:
        super().__init__()
        self.second.bfloat16()


def test_a_network_that_runs_under_autocast_alone() -> None:
    torch.manual_seed(0)
    model, x = built(NeedsAutocast(), METHODS["lora"]), torch.randn(5, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(mixed(model, x), rows_of(model, x, NAMES), rtol=0.05, atol=0.05)


def test_a_hook_that_the_network_needs() -> None:
    """Pictures of whole numbers become what the network takes."""
    torch.manual_seed(0)
    net = Plain()
    model, x = built(net, METHODS["lora"]), torch.randint(256, (5, 6), dtype=torch.uint8)
    net.register_forward_pre_hook(lambda _, given: (given[0] / 255,))
    with pytest.warns(UserWarning, match="task by task, which is slower: the network runs only with its hooks"):
        found = mixed(model, x)
    torch.testing.assert_close(found, rows_of(model, x, NAMES))
    torch.testing.assert_close(mixed(model, x.flip(0)), rows_of(model, x.flip(0), NAMES))
