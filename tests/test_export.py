"""Exported files run without the library and give the model's outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import taskfold as tfold
from taskfold.export import export
from taskfold.factors import CP
from taskfold.layers import Update

from .layers.cases import CASES
from .recipes import OfRecipes
from .test_bank import built

suffixes = pytest.mark.parametrize("suffix", ["onnx", "pt2"])


@suffixes
def test_a_folded_task(suffix: str, tmp_path: Path) -> None:
    model = built()
    assert export(model.fold("t0"), [torch.randn(2, 3, 8, 8)], tmp_path / f"t0.{suffix}") < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == [f"t0.{suffix}"]


@pytest.mark.in_turn("suffix")
@suffixes
@pytest.mark.parametrize(
    "method", [None, tfold.LoRA(rank=2, layers="convolution"), tfold.Piggyback()], ids=["ftn", "lora", "piggyback"]
)
def test_a_bank_with_the_index_as_an_input(suffix: str, method: tfold.Method | None, tmp_path: Path) -> None:
    bank = built(3, method).bank()
    given = [torch.randn(3, 3, 8, 8), bank.index(["t0", "t2", "t1"])]
    assert export(bank, given, tmp_path / f"bank.{suffix}") < 1e-5


KINDS = [
    "conv-stride-dilation-1d",
    "conv-groups-1d",
    "conv-3d",
    "transposed-stride-2d",
    "transposed-output-padding-1d",
    "transposed-groups-2d",
    "transformers-conv1d",
    "linear-tokens",
]


@pytest.mark.in_turn("suffix")
@suffixes
@pytest.mark.parametrize("name", KINDS)
def test_a_bank_of_every_layer_kind(name: str, suffix: str, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == name)
    torch.manual_seed(0)
    model = tfold.MultiTask(nn.Sequential(case.build())).eval()
    for n in range(3):
        model.add_task(f"t{n}", method=OfRecipes(Update(CP(rank=1 + n, init="normal"), case.where)))
    bank = model.bank()
    given = [torch.randn(3, *case.shape), bank.index(["t0", "t2", "t1"])]
    assert export(bank, given, tmp_path / f"bank.{suffix}") < 1e-5


def test_layers_that_run_task_by_task_are_no_graph(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "torch-attention")
    model = tfold.MultiTask(nn.Sequential(case.build())).eval()
    for n in range(2):
        model.add_task(f"t{n}", method=OfRecipes(Update(CP(rank=1), case.where)))
    bank = model.bank()
    with pytest.raises(Exception, match=r"layer '0\.attention' runs the rows of each task by themselves"):
        export(bank, [torch.randn(2, *case.shape), bank.index(["t0", "t1"])], tmp_path / "bank.pt2")
    assert not list(tmp_path.iterdir())


def test_onnxruntime_runs_any_mixture(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    bank = built(4).bank()
    export(bank, [torch.randn(2, 3, 8, 8), bank.index(["t0", "t1"])], tmp_path / "bank.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "bank.onnx")
    assert [one.name for one in session.get_inputs()] == ["image", "index"]
    for names in (["t3"], ["t1", "t1", "t3", "t0", "t2", "t3"]):
        x, index = torch.randn(len(names), 3, 8, 8), bank.index(names)
        [said] = session.run(None, {"image": x.numpy(), "index": index.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(said), bank(x, index), rtol=1e-4, atol=1e-5)


@suffixes
def test_layers_with_a_forward_of_their_own(suffix: str, tmp_path: Path) -> None:
    """Padded while they run, depthwise or not."""
    from timm.layers.conv2d_same import Conv2dSame

    torch.manual_seed(0)
    own = [Conv2dSame(4, 4, 3, stride=2, groups=4), Conv2dSame(4, 6, 3, stride=2)]
    model = tfold.MultiTask(
        nn.Sequential(nn.Conv2d(3, 4, 3), *own), tfold.FTN(rank=2, init="normal", norm=False)
    ).eval()
    for name in ("a", "b"):
        model.add_task(name)
    bank = model.bank()
    assert export(bank, [torch.randn(2, 3, 9, 9), bank.index(["a", "b"])], tmp_path / f"bank.{suffix}") < 1e-5


class Tricky(nn.Module):
    """Says one thing while it is traced and another afterwards."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if torch.compiler.is_exporting() else x


def test_what_says_something_else_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="something else than the Tricky for a batch of 2 rows; nothing was written"):
        export(Tricky(), [torch.randn(2, 3)], tmp_path / "x.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("inputs", "names", "error", "said"),
    [
        (
            lambda bank, x: [bank.index(["a", "b"]), x],
            [],
            ValueError,
            r"must end with bank\.index\(names\), found a tensor",
        ),
        (lambda bank, x: [], [], ValueError, "found nothing"),
        (lambda bank, x: x, [], TypeError, r"such as \[images\], found a Tensor"),
        (lambda bank, x: [x, ["a", "b"]], [], TypeError, "found a list"),
        (
            lambda bank, x: [x, bank.index(["a", "b"])],
            "image",
            ValueError,
            "one for each of the 2 inputs, found 'image'",
        ),
        (lambda bank, x: [x, bank.index(["a", "b"])], ["image"], ValueError, "one for each of the 2 inputs"),
    ],
)
def test_inputs_that_do_not_fit(
    tmp_path: Path, inputs: Callable[..., Any], names: Any, error: type[Exception], said: str
) -> None:
    model = tfold.MultiTask(nn.Sequential(nn.Linear(3, 2)), tfold.LoRA(rank=1))
    for name in "ab":
        model.add_task(name)
    bank, path = model.eval().bank(), tmp_path / "x.pt2"
    with pytest.raises(error, match=said):
        export(bank, inputs(bank, torch.randn(2, 3)), path, names=names)
    with pytest.raises(TypeError, match=r"export model\.fold\(name\), or model\.bank\(\)"):
        export(model, [torch.randn(2, 3)], path)


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    layer, x = nn.Linear(3, 2), torch.randn(2, 3)
    with pytest.raises(ValueError, match=r"must end in \.onnx or \.pt2, found 'x\.pt'"):
        export(layer, [x], tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"same number of rows, at least 2, found \[1\]"):
        export(layer, [x[:1]], tmp_path / "x.pt2")
    with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
        export(layer, [x], tmp_path / "none" / "x.pt2")


class Bits(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x.view(torch.int32) % 2


@pytest.mark.filterwarnings("ignore")
def test_what_torch_cannot_write_is_said_in_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    with pytest.raises(RuntimeError, match=r"torch can't write the Bits as '.onnx' \(.*; nothing was written$") as said:
        export(Bits(), [torch.randn(2, 3)], tmp_path / "bits.onnx")
    assert "\n" not in str(said.value)
    assert not [*tmp_path.iterdir()]
