"""Every image for several tasks: equal to the tasks one by one, in one pass that splits where tasks differ."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import taskfold as tfold
from taskfold import MultiTask
from taskfold.methods import Method
from taskfold.model import _each


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def built(method: Method) -> MultiTask:
    model = MultiTask(network(), method, num_features=4)
    for n, name in enumerate("abc"):
        model.add_task(name, head=2 + n)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def counted(model: MultiTask) -> list[int]:
    """Grows by one for every pass through the backbone."""
    passes: list[int] = []
    model.backbone[0].register_forward_hook(lambda *_: passes.append(1))  # type: ignore[operator,union-attr]
    return passes


METHODS = {
    "hard sharing": tfold.HardSharing(),
    "expandnet": tfold.ExpandNet(rate=1.5),
    "repvgg": tfold.RepVGG(),
    "head only": tfold.HeadOnly(),
    "shared factors": tfold.FTN(rank=2, sharing="shared", norm=False, stem=True),
    "own normalisation": tfold.FTN(rank=2, sharing="shared"),
    "diagonals": tfold.OverParameterised(),
    "own factors": tfold.LoRA(rank=2, layers="convolution"),
    "factors alone": tfold.FTN(rank=2, norm=False),
    "routed": tfold.Poly(rank=2, skills=2, layers="convolution"),
    "fine-tuning": tfold.FineTuning(),
    "later layers": tfold.FineTuning(frozen_stages=2),
}


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass, whether that is faster or not."""
    monkeypatch.setattr(_each, "worth_sharing", lambda *_: True)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("gradients", [True, False], ids=["gradients", "none"])
def test_each_output_is_the_task_s_own(method: Method, training: bool, rows: int, gradients: bool) -> None:
    model = built(method)
    x, seen = torch.randn(rows, 3, 6, 6), counted(model)
    model.train(training)
    with torch.set_grad_enabled(gradients):  # without them numbers are added in place
        every = model(x, task=["c", "a", "b"], broadcast=True)
        assert list(every) == ["c", "a", "b"]
        assert len(seen) == 1
        for name, output in every.items():
            torch.testing.assert_close(output, model(x, task=name))


@pytest.mark.parametrize(
    ("rows", "stages", "passes"), [(1, 0, 1), (2, 0, 3), (2, 1, 1)], ids=["one row", "from the start", "later"]
)
def test_one_pass_where_it_pays(rows: int, stages: int, passes: int) -> None:
    model = built(tfold.FTN(rank=2, stem=True, frozen_stages=stages))
    seen = counted(model)
    model(torch.randn(rows, 3, 6, 6), task=list("abc"), broadcast=True)
    assert len(seen) == passes


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_what_no_task_changes_is_computed_once(stages: int) -> None:
    """Down to the first adapted layer's own weight; only what is added there is each task's."""
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)]
    model = MultiTask(nn.Sequential(*layers), tfold.LoRA(rank=1, layers="convolution", frozen_stages=stages)).eval()
    names = [f"task{n}" for n in range(6)]
    for name in names:
        model.add_task(name)
    x = torch.randn(2, 3, 16, 16)

    def work(task: str | list[str], **settings: bool) -> int:
        model(x, task=task, **settings)  # the first pass looks at the plain network
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(x, task=task, **settings)
        return counter.get_total_flops()

    model.execution = "factored"
    pixels = 2 * 2 * 16 * 16
    # All layers up to the first adapted one, that one included; the stem is left alone in any case.
    once = pixels * 9 * (3 * 8 + max(stages, 1) * 8 * 8)
    alone = work("task0")
    assert alone > once > 0
    assert work(names, broadcast=True) == once + 6 * (alone - once)


class Stubborn(nn.Sequential):
    """Looks at its numbers, which cannot be done for several tasks at once."""

    def forward(self, input: Tensor) -> Tensor:
        y = super().forward(input)
        return y if y.sum() > 0 else -y


@pytest.mark.usefixtures("always")
def test_a_network_that_looks_at_its_numbers_runs_task_after_task() -> None:
    model = MultiTask(Stubborn(*network()), tfold.FTN(rank=2, stem=True, statistics="own"), num_features=4)
    for name in "ab":
        model.add_task(name, head=2)
    x = torch.randn(4, 3, 6, 6)
    with pytest.warns(UserWarning, match="Stubborn runs tasks one after another, since one pass cannot serve several"):
        every = model(x, task=["a", "b"], broadcast=True)
    assert dict(model["a"].named_buffers())["sites.1.1:own.own.num_batches_tracked"] == 1  # the attempt left no trace
    for name, output in every.items():
        torch.testing.assert_close(output, model(x, task=name))
    model(x, task=["a", "b"], broadcast=True)  # known now: no warning


class Attending(nn.Module):
    """A mask of positions that has as many rows as a batch may have."""

    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.q, self.out = nn.Linear(4, 8), nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q(self.stem(x)).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v, seen).transpose(1, 2).flatten(2))[:, -1]


@pytest.mark.usefixtures("always")
def test_a_mask_of_positions_has_no_rows() -> None:
    torch.manual_seed(0)
    model = MultiTask(Attending(), tfold.LoRA(rank=2, targets=("q", "out"), init="normal")).eval()
    for name in "ab":
        model.add_task(name)
    for rows in (3, 5, 1):
        x = torch.randn(rows, 5, 4)
        for name, output in model(x, task=["a", "b"], broadcast=True).items():
            torch.testing.assert_close(output, model(x, task=name))


def test_attention_whose_batch_comes_second_shares_a_pass() -> None:
    class Second(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = x.transpose(0, 1)
            return self.attention(x, x, x)[0].transpose(0, 1)

    torch.manual_seed(0)
    model = MultiTask(Second(), tfold.LoRA(rank=2, init="normal")).eval()
    for name in "ab":
        model.add_task(name)
    x = torch.randn(1, 5, 8)
    every = model(x, task=["a", "b"], broadcast=True)
    for name, output in every.items():
        torch.testing.assert_close(output, model(x, task=name))


def test_bad_input_is_reported_as_for_one_task() -> None:
    model, x = built(tfold.FTN(rank=2)), torch.randn(1, 5, 6, 6)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="to have 3 channels, but got 5 channels"):
            model(x, task=["a", "b"], broadcast=True)
    model(x[:, :3], task=["a", "b"], broadcast=True)


@pytest.mark.usefixtures("always")
def test_layers_that_are_recomputed() -> None:
    """Hugging Face's switch is known; a checkpoint of one's own says what to do."""

    class Recomputed(nn.Sequential):
        gradient_checkpointing = False

        def forward(self, input: Tensor) -> Tensor:
            return checkpoint(super().forward, input, use_reentrant=False, context_fn=tfold.checkpoint_context)

    model = MultiTask(Recomputed(*network()), tfold.FTN(rank=2, stem=True), num_features=4).eval()
    for name in "ab":
        model.add_task(name, head=2)
    x = torch.randn(4, 3, 6, 6)
    with pytest.raises(RuntimeError, match="run the tasks one by one"):
        model(x, task=["a", "b"], broadcast=True)["a"].sum().backward()
    model.backbone.gradient_checkpointing = True  # type: ignore[assignment]
    model(x, task=["a", "b"], broadcast=True)["a"].sum().backward()


def test_heads_of_one_pass_and_memory_formats_and_precisions() -> None:
    model = built(tfold.FTN(rank=2))
    x = torch.randn(3, 3, 6, 6).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        every = model(x, task=["a", "b"], broadcast=True)
        for name, output in every.items():
            torch.testing.assert_close(output, model(x, task=name), rtol=2e-2, atol=2e-2)
    with torch.inference_mode():
        assert model(x, task=["a", "b"], broadcast=True)["b"].shape == (3, 3)


def test_gradients_are_those_of_the_tasks_one_by_one() -> None:
    def gradients(together: bool) -> list[Tensor]:
        model = built(tfold.HardSharing())
        x = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(1))
        outputs = model(x, task=list("abc"), broadcast=True) if together else {n: model(x, task=n) for n in "abc"}
        sum(output.square().sum() for output in outputs.values()).backward()  # type: ignore[union-attr]
        return [p.grad for p in model.parameters() if p.grad is not None]

    torch.testing.assert_close(gradients(True), gradients(False))


@pytest.mark.usefixtures("always")
def test_tasks_of_different_methods_go_their_own_ways() -> None:
    model = built(tfold.HardSharing())
    model.add_task("d", method=tfold.HeadOnly())
    model.add_task("e", head=2, method=tfold.HeadOnly())
    model.eval()
    x, seen = torch.randn(2, 3, 6, 6), counted(model)
    every = model(x, task=["a", "d", "b", "e"], broadcast=True)
    assert len(seen) == 1
    assert every["d"].shape == (2, 4)  # the backbone's own output
    torch.testing.assert_close(every["e"], model(x, task="e"))


def test_common_statistics_move_once_per_batch() -> None:
    model = built(tfold.HardSharing()).train()
    x = torch.randn(5, 3, 6, 6)
    model(x, task=list("abc"), broadcast=True)
    assert model.inventory["hard-sharing.0/1/rest"]["num_batches_tracked"] == 1


@pytest.mark.parametrize(
    ("task", "kind", "said"),
    [
        ("a", TypeError, "task must be a list of names, found 'a'"),
        ([], ValueError, "at least one name"),
        (["a", "a"], ValueError, "none twice"),
        (["a", "z"], ValueError, "task 'z' is not known"),
    ],
)
def test_bad_lists_are_refused(task: object, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        built(tfold.HeadOnly())(torch.randn(2, 3, 6, 6), task=task, broadcast=True)


TRACED = ("repvgg", "own normalisation", "routed", "later layers")


@pytest.mark.parametrize(
    "method",
    [pytest.param(one, id=name, marks=() if name in TRACED else pytest.mark.whole) for name, one in METHODS.items()],
)
def test_compiled_as_one_graph(method: Method) -> None:
    model, x = built(method), torch.randn(3, 3, 6, 6)
    with torch.no_grad():
        alone, every = model(x, task="a"), model(x, task=["a", "b"], broadcast=True)
        torch.compiler.reset()
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x, task="a"), alone)  # forms may differ: one graph for every shape
        for name, output in compiled(x, task=["a", "b"], broadcast=True).items():
            torch.testing.assert_close(output, every[name])
