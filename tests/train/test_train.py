"""The promises of training: it learns, moves only the task, repeats itself, and names errors."""

from __future__ import annotations

import copy
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from taskfold import FTN, FineTuning, HeadNorm, HeadOnly, LoRA, Method
from taskfold.evaluate import evaluate
from taskfold.train import CheckpointError, DivergedError, OptimizerSettings, Settings, train_task

from .cases import QUICK, Noisy, bits, data, make

METHODS: dict[str, Method] = {
    "ftn": FTN(rank=2),
    "lora": LoRA(rank=2),
    "head": HeadOnly(),
    "norm": HeadNorm(),
    "fine-tuning": FineTuning(),
}


def quick(**changes: Any) -> Settings:
    return QUICK.model_copy(update=changes)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_only_the_tasks_own_moves(method: Method) -> None:
    model = make("a", "b", method=method)
    x = torch.randn(2, 3, 8, 8)
    kept = {key: tensor.clone() for key, tensor in model.state_dict().items() if not key.startswith("tasks.b.")}
    said = model.eval()(x, task="a")
    before = bits(model, "b")
    train_task(model, "b", data(20), data(9, 1), quick(epochs=1))
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in kept.items())
    assert torch.equal(model(x, task="a"), said)
    trained = {name for name, parameter in model["b"].named_parameters()}
    assert {name for name in trained if bits(model, "b")[name] == before[name]} == set()


def test_it_learns_and_holds_the_weights_that_validation_prefers() -> None:
    model = make("a")
    settings = Settings(epochs=6, batch_size=8, optimizers={"head": OptimizerSettings(lr=2e-2)}, select_by="loss")
    result = train_task(model, "a", data(96), data(60, 1), settings)
    assert result.curve[-1]["train_loss"] < 0.8 * result.curve[0]["train_loss"]
    assert [point["epoch"] for point in result.curve] == [1, 2, 3, 4, 5, 6]
    assert result.best["val_loss"] <= min(point["val_loss"] for point in result.curve)
    assert result.curve[result.best_epoch - 1]["val_loss"] == min(point["val_loss"] for point in result.curve)
    found = evaluate(model, "a", data(60, 1))
    assert found.accuracy == result.best["val_accuracy"] > 0.6
    assert found.loss == pytest.approx(result.best["val_loss"], rel=1e-5)
    assert model["a"].info.metrics == {**result.best, "epoch": result.best_epoch}
    assert not model.training
    json.dumps(result.as_json())


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_the_same_seed_gives_the_same_bits_whatever_ran_before() -> None:
    runs = []
    for workers, seed in ((0, 0), (0, 0), (2, 0), (0, 1)):
        model = make("a")
        torch.manual_seed(len(runs))
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
        train_task(model, "a", Noisy(data(27)), data(9, 1), quick(workers=workers, seed=seed, epochs=2))
        after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]  # type: ignore[index]
        assert torch.equal(before[0], after[0])
        assert before[1] == after[1]
        assert (before[2] == after[2]).all()
        runs.append(bits(model, "a"))
    assert runs[0] == runs[1] == runs[2]
    assert runs[0] != runs[3]


def test_each_group_of_parameters_has_its_own_rate(tmp_path: Path) -> None:
    model = make("a")
    sgd = OptimizerSettings(optimizer="sgd", lr=8e-3)
    rates = {"factors": 5e-3, "norm": 8e-3, "head": 8e-3}
    optimizers = {"factors": OptimizerSettings(lr=5e-3), "norm": sgd, "head": sgd}
    settings = quick(optimizers=optimizers, schedule="linear", warmup=0.25, log_every=1, epochs=4)
    train_task(model, "a", data(24), data(9, 1), settings, folder=tmp_path)
    steps = [line for line in lines(tmp_path) if line["event"] == "step"]
    scale = [1 / 3, 2 / 3, 1, *(1 - n / 9 for n in range(9))]
    assert [step["step"] for step in steps] == list(range(1, 13))
    for step, factor in zip(steps, scale, strict=True):
        assert step["lr"] == {kind: pytest.approx(rate * factor) for kind, rate in rates.items()}


def test_a_smaller_clip_norm_takes_smaller_steps() -> None:
    moved = []
    for clip in (None, 1e-3):
        model = make("a", method=HeadOnly())
        before = model["a"].head.weight.clone()  # type: ignore[union-attr, operator]
        head = {"head": OptimizerSettings(optimizer="sgd", lr=0.1)}
        settings = quick(optimizers=head, clip_norm=clip, epochs=1, schedule="constant")
        train_task(model, "a", data(16), data(9, 1), settings)
        moved.append((model["a"].head.weight - before).norm().item())  # type: ignore[union-attr, operator]
    # Two steps along at most 1e-3 each, with momentum 0.9.
    assert moved[1] <= 0.1 * 1e-3 * (1 + 1.9) + 1e-6
    assert moved[0] > 10 * moved[1]


def test_it_stops_early_and_keeps_the_best() -> None:
    model = make("a", method=HeadOnly())
    still = {"head": OptimizerSettings(lr=1e-30)}
    result = train_task(model, "a", data(16), data(9, 1), quick(epochs=9, patience=2, optimizers=still))
    assert result.stopped == "early"
    assert (result.best_epoch, len(result.curve)) == (1, 3)


def test_stale_running_statistics_are_estimated_anew(tmp_path: Path) -> None:
    shifted = TensorDataset(data(64).tensors[0] * 5 + 20, data(64).tensors[1])
    found = {}
    for anew in (False, True):
        model = make("a", method=HeadNorm(statistics="own"))
        settings = quick(epochs=2, norm_momentum=None, reestimate_norm=anew, select_by="loss")
        found[anew] = train_task(model, "a", shifted, shifted, settings, folder=tmp_path / str(anew)).best
    assert found[True]["reestimated"]
    assert found[True]["val_loss"] < found[False]["val_loss"]
    (line,) = [line for line in lines(tmp_path / "True") if line["event"] == "statistics"]
    assert line["running"]["val_loss"] == found[False]["val_loss"]
    assert line["kept"]


def test_statistics_that_validation_likes_less_are_not_kept() -> None:
    misleading = TensorDataset(data(16).tensors[0] * 100, data(16).tensors[1])
    model = make("a", method=HeadNorm(statistics="own"))
    settings = quick(epochs=2, select_by="loss")
    result = train_task(model, "a", data(64), data(30, 1), settings, plain=misleading)
    assert result.best["reestimated"] is False
    assert evaluate(model, "a", data(30, 1)).loss == pytest.approx(result.best["val_loss"], rel=1e-5)


def test_mixed_precision_after_full_precision() -> None:
    for precision in ("no", "bf16", "no"):
        model = make("a")
        result = train_task(model, "a", data(24), data(9, 1), quick(precision=precision))
        assert all(p.dtype == torch.float32 for p in model["a"].parameters())
        assert np.isfinite(result.curve[-1]["train_loss"])


def test_a_loss_of_ones_own() -> None:
    def squares(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - nn.functional.one_hot(targets, 3)).square().mean()

    model = make("a")
    result = train_task(model, "a", data(24), data(9, 1), QUICK, loss=squares)
    assert result.best["val_loss"] == pytest.approx(evaluate(model, "a", data(9, 1), loss=squares).loss, rel=1e-5)
    with pytest.raises(ValueError, match=r"label_smoothing=0\.1 is for images .* a loss of its own"):
        train_task(model, "a", data(24), data(9, 1), quick(label_smoothing=0.1), loss=squares)


class BrokenAfter(Dataset[Any]):
    """Not a number from some epoch on."""

    def __init__(self, data: TensorDataset, epoch: int) -> None:
        self.data, self.limit, self.epoch = data, epoch, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, target = self.data[index]
        return (image * float("nan") if self.epoch >= self.limit else image), target


@pytest.mark.parametrize("good_epochs", [0, 1])
def test_a_loss_that_is_no_number_stops_the_run_and_loses_nothing(good_epochs: int, tmp_path: Path) -> None:
    model = make("a")
    start = bits(model, "a")
    with pytest.raises(
        DivergedError, match=rf"nan at step {4 * good_epochs + 1} .*factors.*try a third of what was set .*factors"
    ):
        train_task(model, "a", BrokenAfter(data(32), good_epochs), data(9, 1), quick(epochs=4), folder=tmp_path)
    assert (bits(model, "a") == start) == (good_epochs == 0)
    assert all(bool(tensor.isfinite().all()) for tensor in model["a"].state_dict().values())
    kept = train_task(model, "a", data(32), data(9, 1), quick(epochs=4), folder=tmp_path)
    assert kept.resumed
    assert len(kept.curve) == 4


def test_statistics_that_are_no_numbers_stop_the_run(tmp_path: Path) -> None:
    """One input of 1e38: its square is infinite, and the loss of the next batch is finite again."""
    model, train = make(), data(32)
    model.add_task("a", head=3, statistics="own")
    train.tensors[0][30] = 1e38
    with pytest.raises(
        DivergedError, match=r"'a/.*running_var' holds numbers that are not finite after epoch 1; check"
    ):
        train_task(model, "a", train, data(9, 1), quick(epochs=4), folder=tmp_path)
    assert all(bool(tensor.isfinite().all()) for tensor in model["a"].state_dict().values())


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first, second = make("a"), make("a", seed=5)
    result = train_task(first, "a", data(24), data(9, 1), QUICK, folder=tmp_path)
    log = (tmp_path / "log.jsonl").read_bytes()
    again = train_task(second, "a", data(24), data(9, 1), quick(log_every=7), folder=tmp_path)
    assert again.resumed
    assert not result.resumed
    assert again.as_json() | {"resumed": False} == result.as_json()
    assert bits(second, "a") == bits(first, "a")
    assert second["a"].info.metrics == first["a"].info.metrics
    assert (tmp_path / "log.jsonl").read_bytes() == log


def test_another_run_in_the_folder_is_refused_and_kept(tmp_path: Path) -> None:
    train_task(make("a"), "a", data(24), data(9, 1), QUICK, folder=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    others = {
        "settings.epochs was 3, is now 4": (make("a"), quick(epochs=4), 24),
        "samples.plain was 24, is now 25; samples.train": (make("a"), QUICK, 25),
        "method.settings.rank was 2, is now 3": (make("a", method=FTN(rank=3)), QUICK, 24),
    }
    for message, (model, settings, size) in others.items():
        with pytest.raises(CheckpointError, match=message):
            train_task(model, "a", data(size), data(9, 1), settings, folder=tmp_path)
    model = make("a")
    model.backbone[0].weight.data[0] += 1
    with pytest.raises(CheckpointError, match="backbone was"):
        train_task(model, "a", data(24), data(9, 1), QUICK, folder=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert not train_task(make("a"), "a", data(24), data(9, 1), quick(epochs=4), folder=tmp_path, fresh=True).resumed


def test_folders_that_cannot_serve(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file"):
        train_task(make("a"), "a", data(24), data(9, 1), QUICK, folder=tmp_path / "file")
    (tmp_path / "log.jsonl").write_text("{}\n")
    with pytest.raises(CheckpointError, match="whose checkpoint is gone"):
        train_task(make("a"), "a", data(24), data(9, 1), QUICK, folder=tmp_path)
    assert (tmp_path / "log.jsonl").read_text() == "{}\n"


def test_what_cannot_be_trained_says_so() -> None:
    model = make("a", "b", method=FTN(rank=2, sharing="shared"))
    with pytest.raises(ValueError, match=r"rests on shared factors.*would move task 'b'"):
        train_task(model, "a", data(24), data(9, 1), QUICK)
    model = make(method=HeadOnly())
    model.add_task("empty")
    with pytest.raises(ValueError, match="'empty' has no trainable parameter"):
        train_task(model, "empty", data(24), data(9, 1), QUICK)
    head = nn.Linear(16, 3)
    model.add_task("one", head)
    model.add_task("two", 3).head = head
    with pytest.raises(ValueError, match=r"holds tensors that task 'one' holds too.*deepcopy"):
        train_task(model, "two", data(24), data(9, 1), QUICK)
    model.add_task("three", copy.deepcopy(head))
    with pytest.raises(ValueError, match=r"'thre' is not known.*did you mean 'three'"):
        train_task(model, "thre", data(24), data(9, 1), QUICK)


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (data(0), data(9), "train is empty"),
        (data(9), data(0), "val is empty"),
        (TensorDataset(data(9).tensors[0], torch.arange(9)), data(9), "3 outputs, but a target is"),
    ],
)
def test_data_that_cannot_serve(train: TensorDataset, val: TensorDataset, message: str) -> None:
    model = make("a")
    before = bits(model, "a")
    with pytest.raises(ValueError, match=message):
        train_task(model, "a", train, val, QUICK)
    assert bits(model, "a") == before


def test_a_terminal_sees_a_bar_and_a_pipe_sees_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train_task(make("a"), "a", data(24), data(9, 1), QUICK)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    train_task(make("a"), "a", data(24), data(9, 1), QUICK, quiet=True)
    assert capsys.readouterr().out == ""
    train_task(make("a"), "a", data(24), data(9, 1), QUICK, label="flowers")
    shown = capsys.readouterr().out
    for word in ("flowers", "epoch 3/3", "loss ", "val loss 1.", "samples/s"):
        assert word in shown


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
