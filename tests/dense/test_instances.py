from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.detection import FasterRCNN, RetinaNet

import taskfold as tfold
from taskfold.backbones import BackboneError
from taskfold.dense import InstanceSample
from taskfold.dense.instances import (
    DetectorBody,
    DetectorHead,
    InstanceBatch,
    InstanceObjective,
    detector,
    seen,
)
from taskfold.train import JointSettings, OptimizerSettings, Settings, TaskSet, train_task, train_together

OBJECTIVE = InstanceObjective()


def sample(index: int, objects: int = 2) -> InstanceSample:
    """Bright squares (class 1) and wide bars (class 2) on noise."""
    draw = torch.Generator().manual_seed(index)
    image, masks = 0.2 * torch.rand(3, 32, 48, generator=draw), torch.zeros(objects, 32, 48, dtype=torch.bool)
    boxes, classes = torch.zeros(objects, 4), torch.zeros(objects, dtype=torch.int64)
    for number in range(objects):
        kind = 1 + number % 2
        width, left, top = 8 * kind, 3 + 20 * (number % 2), int(torch.randint(2, 20, (1,), generator=draw))
        masks[number, top : top + 8, left : left + width] = True
        image[kind, masks[number]] += 0.7
        boxes[number] = torch.tensor([left, top, left + width, top + 8])
        classes[number] = kind
    return InstanceSample(image, boxes, classes, masks, str(index))


def small(classes: int = 2, frozen_norm: bool = True, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return detector(classes, width=8, size=32, frozen_norm=frozen_norm)


def whole(made: nn.Module, method: tfold.Method | None = None) -> tfold.MultiTask:
    model = tfold.MultiTask(made, method or tfold.FTN(rank=1, targets=("backbone.body.*",), norm=False))
    model.add_task("shapes")
    return model


def halves(made: nn.Module, method: tfold.Method | None = None) -> tfold.MultiTask:
    model = tfold.MultiTask(DetectorBody(made), method or tfold.FTN(rank=1, norm=False), features=seen)
    model.add_task("shapes", head=DetectorHead(made))
    return model


def bits(module: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in module.state_dict().items()}


def same(found: Sequence[dict[str, Tensor]], expected: Sequence[dict[str, Tensor]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


Make = Callable[[nn.Module, tfold.Method | None], tfold.MultiTask]
BOTH = pytest.mark.parametrize("make", [whole, halves])


@BOTH
def test_losses_and_detections_are_torchvisions_of_each_image_by_itself(make: Make) -> None:
    batch = InstanceBatch.of([sample(0), sample(1), sample(2, objects=0)])
    plain = small().train()
    for part in (plain.rpn, plain.roi_heads):  # no region is left to chance
        part.fg_bg_sampler.batch_size_per_image = 10_000
    model = make(copy.deepcopy(plain), None).train()
    with torch.no_grad():
        pairs = zip(batch.images, batch.targets, strict=True)
        expected = [float(sum(plain([image], [target]).values())) for image, target in pairs]
        assert OBJECTIVE(model, batch, ["shapes"] * 3).tolist() == pytest.approx(expected, rel=1e-4)
    model.eval()
    plain.eval()
    with torch.no_grad():
        same(model(list(batch.images), task="shapes"), plain(list(batch.images)))


@BOTH
def test_training_moves_the_task_and_nothing_else(make: Make) -> None:
    made = small(frozen_norm=False)
    model = make(made, tfold.FTN(rank=1, targets=("backbone.body.*",), statistics="own"))
    model.add_task("other", head=DetectorHead(small(3)) if make is halves else None)
    before, image = bits(made), [sample(5).image]
    with torch.no_grad():
        answer = model.eval()(image, task="other")
    started = {name: own.clone() for name, own in model["shapes"].state_dict().items()}
    settings = Settings(max_steps=2, batch_size=2, warmup=0)
    result = train_task(
        model,
        "shapes",
        [sample(0), sample(1)],  # type: ignore[arg-type]
        [sample(2)],  # type: ignore[arg-type]
        settings,
        objective=OBJECTIVE,
        measure=OBJECTIVE.measure,
        collate=InstanceBatch.of,
        quiet=True,
    )
    assert result is not None
    assert bits(made) == before
    moved = {name for name, own in model["shapes"].state_dict().items() if not torch.equal(own, started[name])}
    assert any(":weight.own." in name for name in moved)
    assert any("running_mean" in name for name in moved)
    assert any(name.startswith("head.") for name in moved) == (make is halves)
    with torch.no_grad():
        again = model.eval()(image, task="other")
    assert all(torch.equal(answer[0][key], again[0][key]) for key in answer[0])


def test_two_images_are_learnt_by_heart() -> None:
    model, two = halves(small(frozen_norm=False), tfold.FTN(rank=4)), [sample(0), sample(1)]
    rates = dict.fromkeys(("factors", "norm", "head"), OptimizerSettings(lr=4e-3))
    settings = Settings(max_steps=50, steps_per_epoch=50, batch_size=2, optimizers=rates)
    kept = {"objective": OBJECTIVE, "measure": OBJECTIVE.measure, "collate": InstanceBatch.of, "quiet": True}
    before = OBJECTIVE.measure(model.eval(), InstanceBatch.of(two), ["shapes"] * 2)
    train_task(model, "shapes", two, two, settings, **kept)  # type: ignore[arg-type]
    after = OBJECTIVE.measure(model, InstanceBatch.of(two), ["shapes"] * 2)
    assert after["loss"].sum() < 0.5 * before["loss"].sum()
    assert after["accuracy"].mean() > 0.7 > before["accuracy"].mean()


def test_tasks_of_different_classes_train_together_and_apart_alike() -> None:
    model = halves(small())
    model.add_task("more", head=DetectorHead(small(5)))
    batch, names = InstanceBatch.of([sample(0), sample(1), sample(2)]), ["more", "shapes", "more"]
    model.eval()
    mixed = OBJECTIVE.measure(model, batch, names)
    for name, rows in {"more": [0, 2], "shapes": [1]}.items():
        alone = OBJECTIVE.measure(model, batch.rows(rows), [name] * len(rows))
        assert mixed["loss"][rows].tolist() == pytest.approx(alone["loss"].tolist(), rel=1e-4)
    sets = {name: TaskSet([sample(0), sample(1)], [sample(2)]) for name in ("shapes", "more")}  # type: ignore[arg-type]
    result = train_together(
        model,
        sets,
        JointSettings(max_steps=1, batch_size=2),
        objective=OBJECTIVE,
        measure=OBJECTIVE.measure,
        collate=InstanceBatch.of,
        quiet=True,
    )
    assert result is not None


@BOTH
def test_measuring_changes_nothing_and_repeats_itself(make: Make) -> None:
    model = make(small(frozen_norm=False), tfold.FTN(rank=1, targets=("backbone.body.*",), statistics="own")).eval()
    batch, before = InstanceBatch.of([sample(0), sample(1, objects=0)]), bits(model)
    torch.manual_seed(1)
    first, drawn = OBJECTIVE.measure(model, batch, ["shapes"] * 2), torch.rand(3)
    second = OBJECTIVE.measure(model, batch, ["shapes"] * 2)
    assert {key: value.tolist() for key, value in first.items()} == {k: v.tolist() for k, v in second.items()}
    assert first["loss"].isfinite().all()
    assert bits(model) == before
    assert not model.training
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))
    with pytest.raises(ValueError, match=r"call model\.eval"):
        OBJECTIVE.measure(model.train(), batch, ["shapes"] * 2)


def test_an_image_without_objects_teaches_the_background_alone() -> None:
    model = halves(small()).train()
    losses = model([sample(0, objects=0).image], [sample(0, objects=0).target()], task="shapes")
    silent = {"loss_mask", "loss_box_reg", "loss_rpn_box_reg"}
    assert {name for name, loss in losses.items() if loss == 0} == silent
    torch.stack(list(losses.values())).sum().backward()
    gradients = [p.grad for p in model["shapes"].parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("kind", ["faster", "retina"])
def test_other_detectors_of_torchvisions(kind: str) -> None:
    pyramid = small().backbone
    if kind == "faster":
        model = halves(FasterRCNN(pyramid, 3, min_size=32, max_size=64))
    else:
        model = whole(RetinaNet(pyramid, 3, min_size=32, max_size=64))
    batch = InstanceBatch.of([sample(0), sample(1)])
    OBJECTIVE(model.train(), batch, ["shapes"] * 2).sum().backward()
    assert all(p.grad is not None for p in model["shapes"].groups()["factors"])
    assert OBJECTIVE.measure(model.eval(), batch, ["shapes"] * 2)["loss"].isfinite().all()
    if kind == "retina":
        with pytest.raises(TypeError, match=r"RetinaNet.*whole"):
            DetectorBody(model.backbone)


def test_a_task_file_and_a_plain_detector_answer_alike(tmp_path: Path) -> None:
    model, images = halves(small(), tfold.FTN(rank=2, init="normal", norm=False)).eval(), [sample(0).image]
    with torch.no_grad():
        expected = model(images, task="shapes")
        model.save_task("shapes", tmp_path / "shapes.safetensors")
        other = tfold.MultiTask(DetectorBody(small()), features=seen)
        other.load_task(tmp_path / "shapes.safetensors", head=DetectorHead(small(seed=1)))
        same(other.eval()(images, task="shapes"), expected)
        same(model.fold("shapes")(images), expected)
        folded = model.fold("shapes", head=False)
        assert isinstance(folded, DetectorBody)
        head = model["shapes"].head
        assert isinstance(head, DetectorHead)
        same(head.on(folded)(images), expected)


def test_weights_of_a_resnet18_and_of_a_whole_detector(tmp_path: Path) -> None:
    reference = resnet18(num_classes=7).eval()
    torch.save(reference.state_dict(), tmp_path / "resnet.pth")
    x = torch.rand(1, 3, 64, 64)
    stages = nn.Sequential(*list(reference.children())[:-2])
    for frozen in (False, True):
        body = detector(2, weights=tmp_path / "resnet.pth", frozen_norm=frozen).get_submodule("backbone.body").eval()
        with torch.no_grad():
            torch.testing.assert_close(body(x)["3"], stages(x), rtol=1e-4, atol=1e-4)
    made = small()
    torch.save(made.state_dict(), tmp_path / "whole.pth")
    assert bits(detector(2, weights=tmp_path / "whole.pth", width=8, size=32, frozen_norm=True)) == bits(made)
    with pytest.raises(BackboneError, match="another shape"):
        detector(2, weights=tmp_path / "resnet.pth", width=8)
    with pytest.raises(FileNotFoundError, match=r"weights: no file .*nowhere\.pth"):
        detector(2, weights=tmp_path / "nowhere.pth")


def test_what_cannot_work_says_so() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"classes": 0}, "classes must be a whole number ≥ 1, found 0"),
        ({"classes": 2, "width": 4}, "width must be a whole number ≥ 8, found 4"),
        ({"classes": 2, "size": 16}, "size must be a whole number ≥ 32, found 16"),
    ]
    for settings, message in wrong:
        with pytest.raises(ValueError, match=message):
            detector(**settings)
    with pytest.raises(ValueError, match="score must be 0 to 1, found 2"):
        InstanceObjective(score=2)
    batch = InstanceBatch.of([sample(0)])
    with pytest.raises(ValueError, match=r"call model\.train\(\) first"):
        OBJECTIVE(whole(small()).eval(), batch, ["shapes"])
    model = halves(small()).train()
    with pytest.raises(ValueError, match="needs targets"):
        model(list(batch.images), task="shapes")
    model.add_task("wide", head=DetectorHead(detector(2, width=16)))
    with pytest.raises(ValueError, match="body with 32 channels, found 16"):
        model(list(batch.images), list(batch.targets), task="wide")
    flat = {**batch.targets[0], "boxes": torch.tensor([[1.0, 1.0, 1.0, 5.0], [2.0, 2.0, 4.0, 4.0]])}
    with pytest.raises(ValueError, match=r"image 0 must have an area, found \[1.0, 1.0, 1.0, 5.0\]"):
        model(list(batch.images), [flat], task="shapes")
