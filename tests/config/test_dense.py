"""Configurations of dense tasks: their results, and their errors."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch

from taskfold.config import BackboneConfig, ConfigError, LoadedNetwork, NetworkConfig, parse_backbone
from taskfold.config._kinds import KINDS, kind_of
from taskfold.config.run import Config, load_config
from taskfold.dense import Augment, DenseSource, NYUv2
from taskfold.train import JointSettings

SOURCE = "source: {kind: nyuv2, root: data, classes: 5}"
IMAGES = "source: {kind: packaged, name: digits}"
WHOLE = f"""
backbone: {{network: segnet, width: 8}}
output: o
{SOURCE}
dense: {{size: [48, 64], augment: {{scale: [0.5, 2], crop: [32, 32]}}}}
tasks:
  - {{name: a, target: segmentation}}
  - {{name: depth, dense: {{augment: {{flip: 0}}}}, source: {{root: other}}}}
"""


def read(folder: Path, text: str) -> Config:
    (folder / "c.yaml").write_text(text)
    return load_config(folder / "c.yaml")


def problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        read(folder, text)
    return str(error.value)


def test_what_a_task_says_goes_over_what_holds_for_all(tmp_path: Path) -> None:
    a, depth = read(tmp_path, WHOLE).tasks
    assert a.source == NYUv2(root=tmp_path / "data", classes=5)
    assert depth.source == NYUv2(root=tmp_path / "other", classes=5)
    assert (a.target, depth.target) == ("segmentation", None)
    assert a.dense.size == depth.dense.size == (48, 64)
    assert a.dense.augment is not None
    assert depth.dense.augment is not None
    assert a.dense.augment.build() == Augment(scale=(0.5, 2), crop=(32, 32))
    assert depth.dense.augment.build() == Augment(scale=(0.5, 2), crop=(32, 32), flip=0)


def test_a_source_of_another_kind_has_nothing_of_that_of_all(tmp_path: Path) -> None:
    text = WHOLE.replace("{root: other}", "{kind: aligned, root: other, tasks: [depth]}")
    source = read(tmp_path, text).tasks[1].source
    assert source.model_dump(exclude_unset=True) == {"kind": "aligned", "root": tmp_path / "other", "tasks": ("depth",)}


def test_a_source_for_all_is_for_every_kind_of_task(tmp_path: Path) -> None:
    text = "backbone: b\noutput: o\nsource: {kind: packaged, name: digits}\ntasks: [{name: a}, {name: b}]"
    first, second = read(tmp_path, text).tasks
    assert first.source == second.source
    assert first.kind.name == "images"


def test_the_loss_chooses_the_epoch(tmp_path: Path) -> None:
    config = read(tmp_path, f"{WHOLE}\ntrain: {{epochs: 3}}\ntogether: true")
    assert [task.train.select_by for task in config.tasks] == ["loss", "loss"]
    assert config.together is not None
    assert config.together.training == JointSettings(epochs=3, select_by="loss")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_source_is_known_by_its_kind(kind: object) -> None:
    assert isinstance(kind, type(KINDS[0]))
    assert set(kind.sources) == {
        tag for source in kind.base().__subclasses__() for tag in get_args(source.model_fields["kind"].annotation)
    }
    assert kind.sources


def test_a_dense_source_is_of_the_dense_kind(tmp_path: Path) -> None:
    source = read(tmp_path, WHOLE).tasks[0].source
    assert isinstance(source, DenseSource)
    assert (kind_of(source).name, kind_of(source).words) == ("dense", "dense targets")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("segnet, width: 8", "segnett"), "backbone.network: network 'segnett' is not known; did you mean segnet?"),
        (("width: 8", "widht: 8"), "backbone.widht: key is not known; did you mean width? (known: stages, width)"),
        (("width: 8", "width: 1.5"), "backbone.width: must be a whole number, found 1.5"),
        (("width: 8", "stages: 9"), "backbone: stages must be a whole number 1 to 5, found 9"),
        (("width: 8", "seed: -1"), "backbone.seed: must be ≥ 0, found -1"),
        (("width: 8", "model: x"), "backbone.model: stands beside network; keep one of them"),
        (("{network: segnet, width: 8}", "timm:resnet18"), "backbone: must be a network for dense targets, such as"),
        (("{network: segnet, width: 8}", "{model: hf:x}"), "such as {network: segnet} or {network: deeplab, encoder:"),
        (("kind: nyuv2", "kind: nyuv1"), "source: kind 'nyuv1' is not known; did you mean nyuv2?"),
        (("classes: 5", "clases: 5"), "source.clases: key is not known; did you mean classes?"),
        (("classes: 5", "classes: 1"), "source.classes: must be ≥ 2, found 1"),
        (("root: data, ", ""), "c.yaml: source.root: is missing"),
        (("{root: other}", "{rot: other}"), "tasks[1].source.rot: key is not known; did you mean root?"),
        (("scale: [0.5, 2]", "scale: [2, 1]"), "dense.augment: scale must be two factors, low first, 0.05 to 20"),
        (("flip: 0", "flip: 3"), "tasks[1].dense.augment: flip must be 0 to 1, found 3.0"),
        (("crop:", "corp:"), "dense.augment.corp: key is not known; did you mean crop?"),
        (("size: [48, 64]", "size: 48"), "dense.size: must be a list, found 48"),
        (("size: [48, 64]", "size: [48, 0]"), "dense.size[1]: must be > 0, found 0"),
        (("output: o", "output: o\nimage_size: 8"), "image_size: is for tasks of images, and these have dense targets"),
        (("output: o", "output: o\ntext: {}"), "text: is for tasks of texts, and these have dense targets"),
        (("output: o", "output: o\ntrain: {select_by: accuracy}"), "train.select_by: must be loss for these tasks"),
        (("output: o", "output: o\ntogether: {select_by: accuracy}"), "together.select_by: must be loss for these"),
        (
            ("{root: other}", "{kind: examples, file: nl.csv}"),
            "(a) has dense targets, tasks[1] (depth) has texts",
        ),
        (
            (SOURCE, "source: {kind: packaged, name: digits}"),
            "dense: is for tasks of dense targets, and these have images",
        ),
        (
            (SOURCE, "source: {kind: packaged, name: digits}"),
            "tasks[0].target: is for tasks of dense targets, and these",
        ),
        (
            (SOURCE, "source: {kind: packaged, name: digits}"),
            "backbone.network: is for tasks of dense targets, and these",
        ),
    ],
)
def test_a_problem_is_said_where_it_stands(tmp_path: Path, changed: tuple[str, str], message: str) -> None:
    assert changed[0] in WHOLE
    text = WHOLE.replace(*changed)
    if "packaged" in changed[1]:
        text = text.replace("source: {root: other}", "source: {name: mnist}")
    assert message in problems(tmp_path, text)


def test_a_missing_extra_is_said_where_its_data_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking() -> type:
        raise ImportError('taskfold.dense needs torchmetrics: pip install "taskfold[dense]"')

    kinds = tuple(kind if kind.name != "dense" else type(kind)(kind.name, kind.words, lacking, ()) for kind in KINDS)
    for module in ("_kinds", "_sources"):
        monkeypatch.setattr(f"taskfold.config.{module}.KINDS", kinds)
    text = "backbone: net.py:build\noutput: o\ntasks: [{name: a, source: {kind: nyuv2, root: x}}]"
    assert "of dense targets there would be more: taskfold.dense needs torchmetrics: pip" in problems(tmp_path, text)


def test_a_network_is_the_same_each_time_and_leaves_the_generators_alone() -> None:
    def weights(text: str) -> torch.Tensor:
        loaded = parse_backbone(text, "--backbone").load()
        assert isinstance(loaded, LoadedNetwork)
        return torch.cat([parameter.flatten() for parameter in loaded.network.parameters()])

    before = torch.random.get_rng_state()
    first = weights("{network: segnet, width: 4}")
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(3)
    assert torch.equal(first, weights("{network: segnet, width: 4, seed: 0}"))
    assert not torch.equal(first, weights("{network: segnet, width: 4, seed: 1}"))


@pytest.mark.parametrize(
    "said",
    [
        BackboneConfig(model="timm:resnet18", weights=Path("w.pth"), pretrained=False),
        NetworkConfig(network="deeplab", seed=3, settings={"encoder": "resnet34", "rates": [1, 2, 3]}),
    ],
)
def test_a_backbone_can_be_noted_and_read_again(said: BackboneConfig | NetworkConfig) -> None:
    assert parse_backbone(said.as_json(), "run.json") == said


def test_the_architecture_needs_no_weights_and_no_memory() -> None:
    loaded = parse_backbone("{network: deeplab, width: 8, weights: nowhere.pth}", "--model").load(meta=True)
    assert {parameter.device.type for parameter in loaded.network.parameters()} == {"meta"}
