"""Uneven classes: weights, sampling, mixed images; and the measure that selects the best epoch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

import taskfold as tfold
from taskfold import MultiTask
from taskfold.problems import Classification
from taskfold.train import JointSettings, OptimizerSettings, Settings, TaskSet, train_task, train_together
from taskfold.train._classification import Labelled, label_collate, seams_of
from taskfold.train._folds import Whole
from taskfold.train._mixture import Mixture
from taskfold.train._sampler import Batches
from taskfold.train._shaping import Shaping
from taskfold.train._state import better
from taskfold.train._targets import targets_of

FAST = {"epochs": 3, "batch_size": 8, "warmup": 0.0, "optimizers": {"head": OptimizerSettings(lr=0.05)}}


def made(features: int = 12) -> MultiTask:
    torch.manual_seed(0)
    model = MultiTask(nn.Flatten(), tfold.HeadOnly(), num_features=features)
    model.add_task("a", head=2)
    return model


def defects(count: int = 48, images: tuple[int, ...] = (3, 2, 2)) -> TensorDataset:
    """Noise, of which 71 % has no defect."""
    torch.manual_seed(1)
    return TensorDataset(torch.randn(count, *images), torch.tensor([n % 7 >= 5 for n in range(count)]).long())


def train(settings: dict[str, Any], data: Dataset[Any] | None = None, **more: Any) -> tuple[MultiTask, Any]:
    model = made()
    result = train_task(model, "a", data or defects(), defects(), Settings(**{**FAST, **settings}), quiet=True, **more)
    return model, result


class TestSelection:
    def test_uneven_classes_go_by_balanced_accuracy(self) -> None:
        _, result = train({})
        assert result.selected_by == "balanced_accuracy"
        best = max(result.curve, key=lambda one: (one["val_balanced_accuracy"], -one["val_loss"]))
        assert result.best_epoch == best["epoch"]
        assert result.best["val_majority"] == pytest.approx(35 / 48)
        confusion = torch.tensor(result.confusion["a"])
        assert confusion.sum(1).tolist() == [35, 13]
        assert float(confusion.trace() / 48) == pytest.approx(result.best["val_accuracy"])

    def test_even_classes_go_by_accuracy_and_few_samples_by_the_loss(self) -> None:
        x = torch.randn(40, 3, 2, 2)
        even, few = TensorDataset(x, torch.arange(40) % 2), TensorDataset(x[:10], torch.arange(10) % 2)
        for val, by in ((even, "accuracy"), (few, "loss")):
            result = train_task(made(), "a", even, val, Settings(**FAST), quiet=True)
            assert result.selected_by == by

    @pytest.mark.parametrize("by", ["macro_f1", "loss", "accuracy", "last"])
    def test_any_score_selects(self, by: str) -> None:
        _, result = train({"select_by": by})
        assert result.selected_by == by
        if by == "last":
            assert result.best_epoch == 3
        with pytest.raises(ValueError, match="select_by='f2' needs measure to return"):
            train({"select_by": "f2"})

    def test_scores_of_which_less_is_better(self) -> None:
        low, high = ({"val_loss": 1.0, "val_mae": value} for value in (0.1, 0.2))
        assert better(low, high, "mae")
        assert not better(high, low, "mae")
        assert better(high, low, "last")


class TestTargets:
    def test_are_known_of_the_usual_data_sets(self) -> None:
        data = TensorDataset(torch.zeros(4), torch.tensor([0, 1, 1, 2]))
        assert targets_of(Subset(data, [3, 1]), "x").tolist() == [2, 1]
        assert targets_of(ConcatDataset([data, data]), "x").tolist() == [0, 1, 1, 2] * 2

    def test_are_asked_for_where_nobody_knows_them(self) -> None:
        class Silent(Dataset[Any]):
            def __len__(self) -> int:
                return 8

            def __getitem__(self, index: int) -> tuple[Tensor, int]:
                return torch.zeros(3, 2, 2), index % 2

        with pytest.raises(ValueError, match=r"balanced_sampling=True needs the class .* Silent does not tell"):
            train({"balanced_sampling": True}, Silent())


class TestWeights:
    def test_balanced_weights_average_one(self) -> None:
        weights = Shaping.of(Settings(class_weights="balanced"), {"a": defects()}, {"a": 2}).weights["a"]
        targets = defects().tensors[1]
        assert torch.tensor(weights)[targets].mean() == pytest.approx(1.0)
        assert weights[1] == pytest.approx(48 / (2 * 13))

    def test_the_training_loss_is_weighted_and_the_validation_is_not(self) -> None:
        model, batch = made(), Labelled(*defects().tensors, defects().tensors[1])
        seams = seams_of({"a": Classification()}, Shaping(weights={"a": [1.0, 3.0]}))
        outputs, targets = model(batch.inputs, task="a"), batch.targets
        plain = F.cross_entropy(outputs, targets, reduction="none")
        torch.testing.assert_close(seams.loss(model, batch, ["a"] * 48), plain * (1 + 2 * targets))
        torch.testing.assert_close(seams.measure(model, batch, ["a"] * 48)["loss"], plain)

    def test_as_many_as_classes(self) -> None:
        with pytest.raises(ValueError, match="class_weights has 3 numbers, and task 'a' has 2 classes"):
            train({"class_weights": (1.0, 2.0, 3.0)})
        with pytest.raises(ValueError, match=r"class_weights='balanced' is for images .* a loss of its own"):
            train({"class_weights": "balanced"}, loss=nn.CrossEntropyLoss())


class TestSampling:
    def test_an_epoch_has_as_many_of_each_class_and_its_length(self) -> None:
        targets = np.array([0] * 9 + [1] * 3)
        data = TensorDataset(torch.zeros(12), torch.tensor(targets))
        mixture = Mixture.of((12,)).by_class(Settings(balanced_sampling=True), [data])
        used: Counter[int] = Counter()
        for epoch in range(3):
            picks = mixture.picks(epoch, seed=5)
            assert np.bincount(targets[picks % 12]).tolist() == [6, 6]
            assert len({*picks.tolist()}) == 12  # the second time in an epoch is another augmentation
            used.update((picks % 12).tolist())
        assert {used[n] for n in range(9)} == {2}  # 18 of class 0 in three epochs, each equally often
        assert {used[n] for n in range(9, 12)} == {6}

    def test_batches_go_on_anywhere(self) -> None:
        data = TensorDataset(torch.zeros(12), torch.tensor([0] * 9 + [1] * 3))
        made = Batches(Mixture.of((12,)).by_class(Settings(balanced_sampling=True), [data]), 4, seed=0)
        whole = [*made]
        made.go_to(0, 2)
        assert [*made] == whole[2:]


class TestMixing:
    @pytest.mark.parametrize("settings", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
    def test_the_loss_is_that_of_both_classes_by_share(self, settings: dict[str, float]) -> None:
        pytest.importorskip("torchvision")
        model, seams = made(192), seams_of({"a": Classification()}, Shaping(**settings))
        inputs, targets = defects(images=(3, 8, 8)).tensors
        assert seams.vary is not None
        torch.manual_seed(3)
        batch = seams.vary(Labelled(inputs, targets, targets), ["a"] * 48)
        others, share = batch.mixed
        assert not torch.equal(batch.inputs, inputs)
        assert torch.equal(others, targets.roll(1))
        outputs = model(batch.inputs, task="a")
        wanted = share * F.cross_entropy(outputs, targets, reduction="none")
        wanted += (1 - share) * F.cross_entropy(outputs, others, reduction="none")
        torch.testing.assert_close(seams.loss(model, batch, ["a"] * 48), wanted)
        if "cutmix" not in settings:
            torch.testing.assert_close(batch.inputs, share[0] * inputs + (1 - share[0]) * inputs.roll(1, 0))

    def test_rows_mix_with_those_of_their_task(self) -> None:
        pytest.importorskip("torchvision")
        seams = seams_of({"a": Classification(), "b": Classification()}, Shaping(mixup=1.0))
        inputs, targets = torch.cat([torch.zeros(4, 3, 2, 2), torch.ones(4, 3, 2, 2)]), torch.arange(8)
        assert seams.vary is not None
        batch = seams.vary(Labelled(inputs, targets, targets), [*"aaaabbbb"])
        torch.testing.assert_close(batch.inputs, inputs)
        assert batch.mixed[0].tolist() == [3, 0, 1, 2, 7, 4, 5, 6]

    def test_other_inputs_are_named(self) -> None:
        pytest.importorskip("torchvision")
        data = TensorDataset(torch.randn(16, 12), torch.arange(16) % 2)
        with pytest.raises(ValueError, match="mix images"):
            train({"mixup": 0.2}, data)


@pytest.mark.parametrize(
    "settings",
    [{"class_weights": "balanced", "balanced_sampling": True, "label_smoothing": 0.1, "mixup": 0.3, "cutmix": 1.0}],
)
def test_a_run_goes_on_exactly(settings: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    whole, _ = train(settings)

    class Killed(TensorDataset):
        left = 30

        def __getitem__(self, index: int) -> tuple[Tensor, ...]:
            Killed.left -= 1
            if not Killed.left:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    often = {**settings, "checkpoint_every": 0.0, "log_every": 1}
    with pytest.raises(KeyboardInterrupt):
        train(often, Killed(*defects().tensors), folder=tmp_path)
    again, result = train(often, folder=tmp_path)
    assert result.resumed
    for one, other in zip(whole["a"].parameters(), again["a"].parameters(), strict=True):
        assert torch.equal(one, other)


def test_tasks_that_train_together_have_weights_of_their_own() -> None:
    model = made()
    model.add_task("b", head=3)
    x = torch.randn(30, 3, 2, 2)
    sets = {
        "a": TaskSet(defects(30), defects(30)),
        "b": TaskSet(TensorDataset(x, torch.arange(30) % 3), TensorDataset(x, torch.arange(30) % 3)),
    }
    settings = JointSettings(**FAST, class_weights="balanced", balanced_sampling=True)
    result = train_together(model, sets, settings, quiet=True)
    assert result.selected_by == "balanced_accuracy"
    assert {*result.confusion} == {"a", "b"}


class Drawn(TensorDataset):
    """Counts how often each sample is trained on."""

    epochs: ClassVar[set[int]] = set()

    def set_epoch(self, epoch: int) -> None:
        self.epochs.add(epoch)


class TestFolds:
    def split(self) -> tuple[Drawn, TensorDataset]:
        x, y = defects(40).tensors
        return Drawn(x[:30], y[:30]), TensorDataset(x[30:], y[30:])

    def test_every_sample_is_held_out_once_and_classes_are_spread(self) -> None:
        train, val = self.split()
        held = [part.val for part in Whole.of(TaskSet(train, val)).folds(4, seed=0)]
        rows = torch.cat([torch.stack([one[n][0] for n in range(len(one))]) for one in held])
        assert len(rows.flatten(1).unique(dim=0)) == 40
        shares = [one.targets.sum() for one in held]
        assert max(shares) - min(shares) <= 1

    def test_samples_that_are_equal_are_held_out_together(self) -> None:
        train, val = self.split()
        train.equal_keys = [n // 2 for n in range(30)]
        for part in Whole.of(TaskSet(train, val)).folds(4, seed=0):
            of_train = {index // 2 for index in part.train.indices if index < 30}
            assert not of_train & {index // 2 for index in part.val.indices if index < 30}

    def test_scores_are_of_samples_that_were_not_seen(self, tmp_path: Path) -> None:
        """Labels by lot: a task that had seen them would know them."""
        torch.manual_seed(0)
        x, y = torch.randn(40, 3, 2, 2), torch.randint(2, (40,))
        many = {**FAST, "epochs": 12, "folds": 4, "optimizers": {"head": OptimizerSettings(lr=0.3)}}
        model = made()
        start = {key: value.clone() for key, value in model["a"].state_dict().items()}
        sets = Drawn(x[:30], y[:30]), TensorDataset(x[30:], y[30:])
        result = train_task(model, "a", *sets, Settings(**many), folder=tmp_path, quiet=True)
        seen = train_task(
            made(), "a", TensorDataset(x, y), TensorDataset(x, y), Settings(**{**many, "folds": None}), quiet=True
        )
        assert result.best["val_accuracy"] < 0.75 < seen.best["val_accuracy"]
        assert sum(map(sum, result.confusion["a"])) == 40
        assert result.best["folds"] == model["a"].info.metrics["folds"] == 4
        assert result.selected_by == "last"
        assert {path.name for path in tmp_path.iterdir() if path.is_dir()} >= {f"fold-{n}" for n in range(1, 5)}
        assert Drawn.epochs == set(range(12))
        # Again: nothing is trained, and the same is said; from the same beginning.
        again = made()
        again["a"].load_state_dict(start)
        other = train_task(again, "a", *sets, Settings(**many), folder=tmp_path, quiet=True)
        assert other.resumed
        assert other.best == result.best
        for one, two in zip(model["a"].parameters(), again["a"].parameters(), strict=True):
            assert torch.equal(one, two)

    def test_what_does_not_go_together_is_named(self) -> None:
        for settings, words in (
            ({"select_by": "loss"}, "select_by='loss' does not go with folds=4"),
            ({"patience": 2}, "patience=2 does not go with folds=4"),
            ({"patience": 2, "select_by": "last", "folds": None}, "patience=2 has no meaning for select_by='last'"),
            ({"folds": 99}, "folds=99 needs as many different samples, found 40"),
        ):
            with pytest.raises(ValueError, match=words):
                train_task(made(), "a", *self.split(), Settings(**{**FAST, "folds": 4, **settings}), quiet=True)
        with pytest.raises(ValueError, match=r"mixup=0\.2 is for images .* has batches of its own; leave mixup out"):
            train_task(made(), "a", *self.split(), Settings(**FAST, mixup=0.2), collate=label_collate, quiet=True)
        with pytest.raises(ValueError, match="folds=4 is of training one task by itself"):
            train_together(made(), {"a": TaskSet(*self.split())}, JointSettings(**FAST, folds=4), quiet=True)
