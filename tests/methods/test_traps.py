"""Errors in public code of these methods, and the test that would find each one here.

- Piggyback: threshold and scale swapped; a weight that is switched off gets no gradient and never returns:
  `tests/factors/test_masks.py`
- PackNet: an early task is evaluated, and later ones are zero; momentum and decay move others' entries:
  `test_packnet.py`
- PackNet: a task in the middle is removed: `test_packnet.py::test_tasks_go_in_reverse_order`
- BA²: switches of activations instead of weights; a multiplier below 0: `test_weighed_masks.py`
- WTPB: k₀ is 0 at the start, or scores start at a bound: `test_weighed_masks.py`
- TAPS: a mean over 52 layers whatever the network; a closed layer's δ in the file; the raw score as a factor:
  `test_taps.py`
- SpotTune, AdaShare: chance in evaluation: here
- SpotTune: a policy net with more numbers than it uses:
  `test_spottune.py::test_the_policy_net_has_as_many_numbers_as_the_authors`
- AdaShare: γ = β = 0 for a skipped block, which is wrong where the shortcut is a convolution:
  `test_adashare.py::test_a_skipped_block_is_its_shortcut`
- KAdaptation and LoRA: heads reshaped without a transpose, so that images mix; scaled after q: `test_kadaptation.py`,
  the law `mixed`
- KAdaptation: a start without a gradient; v made from q's factors: `test_kadaptation.py`
- SVFT: plain with off-diagonals; places drawn twice; signed top-k; signs of another LAPACK:
  `tests/factors/test_singular.py`
- SSF before BatchNorm in training: here
- AdaptFormer: beside the feed-forward alone:
  `test_adaptformer.py::test_it_stands_beside_normalisation_and_feed_forward`
- Series adapters: y is added in place: `test_residual.py::test_it_is_the_papers_formula_in_value_and_gradient`
- RCM: a start from responses that is no other: here
- ASTMT: an adversary on a frozen backbone: `test_astmt.py::test_what_it_can_not_do_is_refused_by_name`
- BitFit: T5's `wo`, which a pattern `w_o` misses: `tests/layers/test_biases.py`
- Adapters: in another place than the paper's: `test_adapter.py`, `test_against_adapters.py`
- Compacter: the range of A_i is ignored; cross-attention: `test_compacter.py`, `test_against_adapters.py`
- Prompts: the decoder has none: `test_prompt.py::test_the_decoder_has_a_table_of_its_own`
- Prefixes: a cache; rows as wide as the model and not as the heads: `test_prefix.py`, whose T5 has heads of another
  width
- FishMask: the classifier within k; an optimiser's decay of what is masked; a layer without an entry:
  `tests/train/test_fishmask.py`, here
- SAID: a backward pass off by 1/√L; a projection that no file holds: `tests/factors/test_fastfood.py`
- (IA)³: division by a scale near 0 to take it out again: `test_ia3.py`, the law `isolation`
- The best epoch, or a rate, chosen on test data: `tests/cli/test_compare.py`
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold.layers import parts_of

from .cases import NETWORKS
from .test_promises import images


def trained(weight: Tensor, mix: Tensor, nff: bool, optimiser: type[torch.optim.Optimizer]) -> Tensor:
    """What an RCM of one convolution puts out after training from a basis."""
    conv = nn.Conv2d(3, 4, 3, bias=False, dtype=torch.float64)
    conv.weight.data.copy_(weight)
    model = tfold.MultiTask(nn.Sequential(conv), tfold.RCM(nff=nff, norm=False))
    ((_, part),) = parts_of(model.add_task("a").double())
    part.own["mix"].data.copy_(mix)
    more = {"momentum": 0.9} if optimiser is torch.optim.SGD else {}
    steps = optimiser([*part.own.values()], lr=0.05, weight_decay=0.01, **more)  # type: ignore[call-arg]
    x = images(4).double()[..., :6, :6]
    for _ in range(20):
        steps.zero_grad()
        (model(x, task="a").sin() - 0.5).square().mean().backward()
        steps.step()
    return model(x, task="a").detach()


@pytest.mark.parametrize("nff", [False, True])
def test_rcm_from_responses_makes_the_same_steps_with_sgd(nff: bool) -> None:
    torch.manual_seed(0)
    weight, basis = torch.randn(4, 3, 3, 3).double(), torch.linalg.qr(torch.randn(4, 4).double()).Q
    turned = torch.einsum("oc,oikl->cikl", basis, weight)
    plain, responses = (trained(*start, nff, torch.optim.SGD) for start in ((weight, torch.eye(4)), (turned, basis)))
    torch.testing.assert_close(responses, plain)
    adam = (trained(*start, nff, torch.optim.Adam) for start in ((weight, torch.eye(4)), (turned, basis)))
    assert not torch.allclose(*adam, atol=1e-2)


def test_a_scale_before_batch_norm_acts_in_training() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model = tfold.MultiTask(network, tfold.SSF()).train()
    scales = next(part.own for (path, _), part in parts_of(model.add_task("a")) if path == "0")
    before = model(images(4), task="a")
    nn.init.constant_(scales["scale"], 3.0)
    assert not torch.allclose(model(images(4), task="a"), before, atol=0.1)


@pytest.mark.parametrize("method", [tfold.SpotTune(), tfold.AdaShare(trunk="frozen")], ids=lambda method: method.name)
def test_evaluation_draws_nothing(method: tfold.Method) -> None:
    torch.manual_seed(0)
    model = tfold.MultiTask(NETWORKS["resnet18"](), method).eval()
    model.add_task("a", head=3)
    with torch.no_grad():
        for leaf in model["a"].parameters():
            leaf.add_(0.3 * torch.randn_like(leaf))
        assert torch.equal(model(images(4), task="a"), model(images(4), task="a"))


def test_a_layer_may_have_no_entry_of_a_mask() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5))
    model = tfold.MultiTask(network, tfold.FishMask(0.2)).eval()
    own = next(part.own for _, part in parts_of(model.add_task("a")) if "places" in part.own)
    own["places"].copy_(torch.arange(len(own["places"])))  # all in the first layer
    nn.init.ones_(own["values"])
    x = torch.randn(3, 4)
    found = model(x, task="a")
    wanted = network[0].weight.detach().clone().flatten()
    wanted[: len(own["places"])] += 1
    torch.testing.assert_close(found, network[2](nn.functional.linear(x, wanted.view(6, 4), network[0].bias).tanh()))
    torch.testing.assert_close(model.fold("a")(x), found)
    torch.testing.assert_close(model.bank()(x, task=["a"] * 3), found)
