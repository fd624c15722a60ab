"""Backbones with linear layers quantised by several libraries: trained, saved, served mixed; never folded."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

import taskfold as tfold

pytestmark = pytest.mark.filterwarnings("ignore")  # of torchao, bitsandbytes and torch.ao about themselves


def torchao_int8(network: nn.Module) -> None:
    torchao = pytest.importorskip("torchao.quantization")
    torchao.quantize_(network, torchao.Int8WeightOnlyConfig())


def torchao_activations(network: nn.Module) -> None:
    torchao = pytest.importorskip("torchao.quantization")
    torchao.quantize_(network, torchao.Int8DynamicActivationInt8WeightConfig())


def exchanged(network: nn.Module, kind: type[nn.Linear], **settings: object) -> None:
    for name, layer in list(network.named_modules()):
        if type(layer) is nn.Linear:
            other = kind(layer.in_features, layer.out_features, bias=layer.bias is not None, **settings)
            other.load_state_dict(layer.state_dict())
            network.set_submodule(name, other.to("cpu"))


def bitsandbytes_int8(network: nn.Module) -> None:
    exchanged(network, pytest.importorskip("bitsandbytes").nn.Linear8bitLt, has_fp16_weights=False)


def bitsandbytes_nf4(network: nn.Module) -> None:
    kind = pytest.importorskip("bitsandbytes").nn.Linear4bit
    exchanged(network, kind, quant_type="nf4", compute_dtype=torch.float32)


def torch_dynamic(network: nn.Module) -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8)


RECIPES: dict[str, Callable[[nn.Module], nn.Module | None]] = {
    "torchao int8": torchao_int8,
    "bitsandbytes int8": bitsandbytes_int8,
    "bitsandbytes nf4": bitsandbytes_nf4,
    "torch dynamic int8": torch_dynamic,
    "torchao int8 and activations": torchao_activations,
}
METHODS = {
    "LoRA": tfold.LoRA(rank=2, layers="linear"),
    "TensorPoly": tfold.TensorPolyI(rank=2),
    "FTN-attention": tfold.FTNQueryValue(rank=2),
    "(IA)³": tfold.IA3(),
}
IDS = torch.randint(1, 40, (4, 5), generator=torch.Generator().manual_seed(0))


def bert() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return BertModel(BertConfig(vocab_size=40, max_position_embeddings=8, initializer_range=0.08, **sizes)).eval()


@torch.no_grad()
def unpacked(network: nn.Module, quantised: nn.Module) -> nn.Module:
    """The network with the weights that quantised layers say they have: what they make of each unit vector."""
    for name, layer in quantised.named_modules():
        if (width := getattr(layer, "in_features", None)) is not None:
            weight = (layer(torch.eye(width)) - layer(torch.zeros(1, width))).T
            network.get_submodule(name).weight.data = weight.contiguous()
    return network


def tuned(network: nn.Module, method: tfold.Method) -> tfold.MultiTask:
    torch.manual_seed(1)
    model = tfold.MultiTask(network, method).eval()
    for name in "ab":
        model.add_task(name, head=3)
    for parameter in [*model["a"].parameters(), *model["b"].parameters(), *model.inventory.parameters()]:
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model


def gradients(model: tfold.MultiTask) -> dict[str, torch.Tensor]:
    model(IDS, task="a").square().sum().backward()
    held = {**dict(model["a"].named_parameters()), **dict(model.inventory.named_parameters())}
    return {name: parameter.grad for name, parameter in held.items()}  # type: ignore[misc]


@pytest.mark.in_turn("method")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_task_on_quantised_layers(recipe: str, method: str, tmp_path: Path) -> None:
    """Gradients are those of plain layers with the unpacked weights; mixtures are the tasks; a file is the task."""
    model = tuned(tfold.quantised(bert(), recipe, RECIPES[recipe]), METHODS[method])
    plain = tuned(unpacked(bert(), model.backbone), METHODS[method])
    bytes_before = tfold.fingerprint(model.backbone)
    wanted, found = gradients(plain), gradients(model)
    for name, gradient in wanted.items():
        assert gradient.any() and (found[name] - gradient).norm() <= 0.1 * gradient.norm(), name
    with torch.no_grad():
        alone = {name: model(IDS, task=name) for name in "ab"}
        assert (alone["a"] - alone["b"]).abs().max() > 1e-2
        for run in (model, model.bank()):
            try:
                mixed = run(IDS, task=list("abab"))
            except ValueError as error:
                if recipe == "torch dynamic int8" and "each depends on several" in str(error):
                    continue  # torch scales activations by the largest number of all rows
                raise
            for row, (name, answer) in enumerate(zip("abab", mixed, strict=True)):
                torch.testing.assert_close(answer, alone[name][row], rtol=1e-4, atol=1e-5)
        with pytest.raises(ValueError, match="load the backbone unquantised, fold, and quantise the result"):
            model.fold("a")
        assert tfold.fingerprint(model.backbone) == bytes_before
        standalone = bool(model.inventory)
        file = model.save_task("a", tmp_path / "a.safetensors", standalone=standalone)
        again = tfold.MultiTask(tfold.quantised(bert(), recipe, RECIPES[recipe])).eval()
        again.load_task(file)
        assert torch.equal(again(IDS, task="a"), alone["a"])
        there = tfold.MultiTask(bert()).eval()  # the way out
        there.load_task(file)
        torch.testing.assert_close(there.fold("a")(IDS), there(IDS, task="a"), rtol=1e-4, atol=1e-5)


def test_gradients_pass_layers_that_no_task_adapts() -> None:
    """torch's own operation has none, nor have torchao's with quantised activations."""
    method = tfold.LoRA(rank=2, layers="linear", targets="0", init="normal")
    found = []
    for by in (nn.Identity(), torch_dynamic, lambda network: [torchao_activations(network), network][1]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))
        model = tfold.MultiTask(by(network), method)
        model.add_task("a")
        model(torch.randn(4, 64), task="a").square().sum().backward()
        found.append([parameter.grad for parameter in model["a"].parameters()])
    for wanted, *gradients in zip(*found, strict=True):
        assert wanted.any() and all((one - wanted).norm() <= 0.1 * wanted.norm() for one in gradients)


def test_a_bias_of_its_own_where_activations_are_quantised() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))
    models = [tfold.MultiTask(network, tfold.BitFit())]
    torchao_activations(other := copy.deepcopy(network))
    models.append(tfold.MultiTask(other, tfold.BitFit()))
    found, x = [], torch.randn(4, 64)
    for model in models:
        for parameter in model.add_task("a").parameters():
            parameter.data += 0.1
        model.train()(x, task="a").square().sum().backward()
        found.append([parameter.grad for parameter in model["a"].parameters()])
        torch.testing.assert_close(model(x, task="a"), model.eval()(x, task="a").detach(), rtol=1e-5, atol=1e-5)
    for wanted, gradient in zip(*found, strict=True):
        assert wanted.any() and (gradient - wanted).norm() <= 0.1 * wanted.norm()


def test_quantised_embeddings_stay() -> None:
    torchao = pytest.importorskip("torchao.quantization")
    network = nn.Sequential(nn.Embedding(64, 64), nn.Linear(64, 64))
    torchao.quantize_(network, torchao.Int8WeightOnlyConfig(), filter_fn=lambda module, _: hasattr(module, "weight"))
    for method in (tfold.LoRA(rank=2, layers="any"), tfold.FineTuning()):
        model = tfold.MultiTask(network, method)
        model.add_task("a")
        assert all(name.startswith("sites.1.") for name, _ in model["a"].named_parameters())
        model.train()(torch.arange(4), task="a").sum().backward()
    with pytest.raises(ValueError, match="1 × quantised embedding"):
        tfold.MultiTask(network[:1], tfold.LoRA(rank=2, layers="any")).add_task("a")


def rounded(to: float) -> Callable[[nn.Module], None]:
    def by(network: nn.Module) -> None:
        for parameter in network.parameters():
            parameter.data = (parameter.data * to).round() / to

    return by


def small(scale: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 64))
    network[0].weight.data *= scale
    return network.eval()


def test_which_files_load_where(tmp_path: Path) -> None:
    """Onto the same packed numbers, and between these and the plain ones that they were made of."""
    networks = {
        "plain": small(),
        "half": small().bfloat16(),
        "eighths": tfold.quantised(small(), "eighths", rounded(8)),
        "tenths": tfold.quantised(small(), "tenths", rounded(10)),
        "half in eighths": tfold.quantised(small().bfloat16(), "eighths of bfloat16", rounded(8)),
        "other": tfold.quantised(small(2.0), "eighths", rounded(8)),
        "unsaid": small(),
    }
    rounded(8)(networks["unsaid"])
    models = {name: tfold.MultiTask(net, tfold.LoRA(rank=1, layers="linear")) for name, net in networks.items()}
    loads: dict[str, set[str]] = {name: {*models} for name in models}
    for name, model in models.items():
        model.add_task(name)
        file = model.save_task(name, tmp_path / f"{name}.safetensors")
        for other, there in models.items():
            with contextlib.suppress(tfold.TaskFileError):
                loads[name].discard(other)
                there.load_task(file, name=f"{name} there")
                loads[name].add(other)
    with pytest.raises(tfold.TaskFileError, match=r"quantised by 'eighths' into .* this one is .* by 'tenths' into"):
        models["tenths"].load_task(tmp_path / "eighths.safetensors", name="again")
    both = {"plain", "half"}
    assert loads == {
        "plain": both | {"eighths", "tenths", "half in eighths"},
        "half": both | {"eighths", "tenths", "half in eighths"},
        "eighths": both | {"eighths", "unsaid"},
        "tenths": both | {"tenths"},
        "half in eighths": both | {"half in eighths"},
        "other": {"other"},
        "unsaid": {"unsaid"},
    }


def test_convolutions_stay(tmp_path: Path) -> None:
    network = tfold.quantised(small(), "int8", torchao_int8)
    model = tfold.MultiTask(network, tfold.LoRA(rank=2, layers="any", init="normal"), num_features=64).eval()
    model.add_task("a", head=3)
    model.add_task("first", head=3, targets="0")
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        folded = model.fold("first")
        torch.testing.assert_close(folded(x), model(x, task="first"), rtol=1e-4, atol=1e-5)
    other = tfold.MultiTask(folded.get_submodule("backbone"), tfold.LoRA(rank=1, layers="linear"), num_features=64)
    other.add_task("b")  # on another network than the one that was quantised
    with pytest.raises(tfold.TaskFileError, match="another backbone"):
        tfold.MultiTask(small()).load_task(other.save_task("b", tmp_path / "b.safetensors"))
    with pytest.raises(ValueError, match="load the backbone unquantised"):
        model.fold("a")


@pytest.mark.parametrize(
    ("recipe", "by", "error", "said"),
    [
        (" ", torchao_int8, ValueError, "recipe must say in words"),
        ("nothing", lambda net: None, ValueError, "'nothing' has changed no number"),
        ("what", lambda net: 3, TypeError, "found a int"),
    ],
)
def test_what_is_no_quantisation(recipe: str, by: Callable, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        tfold.quantised(small(), recipe, by)
    with pytest.raises(ValueError, match=r"quantised already \(eighths\)"):
        tfold.quantised(tfold.quantised(small(), "eighths", rounded(8)), "again", rounded(10))


@pytest.mark.parametrize(
    "method",
    [tfold.DoRA(rank=1, layers="linear"), tfold.Piggyback(), tfold.SVFT(layers="linear")],
    ids=lambda method: method.name,
)
def test_methods_that_change_the_weight_are_refused(method: tfold.Method) -> None:
    model = tfold.MultiTask(torch_dynamic(small()), method, num_features=64)
    with pytest.raises(ValueError, match=r"layer '3': a quantised linear layer .* only an update of low rank fits"):
        model.add_task("a", head=3)
    assert not model.tasks
