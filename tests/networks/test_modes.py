"""Modes belong to a view: a teacher evaluates while a student trains."""

from __future__ import annotations

import copy

import torch
from torch import nn

import taskfold as tfold
from taskfold import MultiTask


def made(head: bool = True) -> MultiTask:
    torch.manual_seed(0)
    pool = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5)
    model = MultiTask(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), *pool), tfold.HeadNorm(), num_features=8)
    for name in ("old", "new"):
        model.add_task(name, head=nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)) if head else 3)
    return model


X = 3 * torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)) + 1


def test_a_teacher_and_a_student_at_the_same_time() -> None:
    model = made()
    teacher = model.for_task("old").eval()
    wanted, kept = teacher(X).detach(), copy.deepcopy(model["old"].state_dict())
    student = model.for_task("new").train()
    moving = copy.deepcopy(model["new"].state_dict())
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(teacher(X), wanted)
            assert not torch.equal(student(X), student(X)), "dropout"
    model.train()
    assert torch.equal(teacher(X), wanted)
    assert not teacher.training
    assert all(torch.equal(value, kept[key]) for key, value in model["old"].state_dict().items())
    moved = [key for key, value in model["new"].state_dict().items() if not torch.equal(value, moving[key])]
    assert {key.rpartition(".")[2] for key in moved} == {"running_mean", "running_var", "num_batches_tracked"}
    assert any(key.startswith("head.") for key in moved)


def test_a_view_moves_nobody_else_s_mode() -> None:
    model = made().eval()
    wanted = model(X, task="old")
    model.for_task("new").train()
    assert not model.training
    assert torch.equal(model(X, task="old"), wanted)
    first, second = model.for_task("new"), model.for_task("new")
    first.train()
    second.eval()
    said = second(X)
    first(X)
    assert first.training
    assert not second.training
    assert not torch.equal(first(X), first(X))
    assert said.shape == second(X).shape


def test_a_view_without_a_mode_of_its_own_has_the_model_s() -> None:
    model = made()
    view = model.for_task("old")
    assert view.training
    model.eval()
    assert not view.training
    assert torch.equal(view(X), model(X, task="old"))


def test_modes_set_on_the_backbone_afterwards_hold_until_the_model_s_is_set() -> None:
    model = made(head=False).train()
    model.backbone[4].eval()  # type: ignore[index]
    assert torch.equal(model(X, task="old"), model(X, task="old"))
    model.backbone[4].train()  # type: ignore[index]
    assert not torch.equal(model(X, task="old"), model(X, task="old"))
    model.eval()
    model.backbone.train()
    kept = copy.deepcopy(model.backbone.state_dict())
    model(X, task="old")
    assert all(torch.equal(value, kept[key]) for key, value in model.backbone.state_dict().items())
    model.eval()
    assert torch.equal(model(X, task="old"), model(X, task="old"))


def test_modes_reach_every_module_of_a_task_and_classes_with_a_train_of_their_own() -> None:
    class Own(nn.Linear):
        asked = 0

        def train(self, mode: bool = True) -> Own:
            self.asked += 1
            return super().train(mode)

    model, own = made(), Own(2, 2)
    model["old"].add_module("own", own)
    model["old"].add_module("nothing", None)
    for mode in (False, True, False):
        model.train(mode)
        assert {module.training for module in model.tasks.modules()} == {mode}
    assert own.asked == 3
