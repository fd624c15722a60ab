"""A task file names its backbone: source, weights and inputs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

import taskfold as tfold
from taskfold.backbones import load
from taskfold.cli import _tasks
from taskfold.cli._cards import card
from taskfold.cli._output import UserError
from taskfold.config import BackboneConfig
from taskfold.files import read_header, source_words
from taskfold.tasks import note_source, source_of

NET = """
from torch import nn
from taskfold.backbones import LoadedBackbone

def build():
    return LoadedBackbone(nn.Sequential(nn.Linear(4, 4)), num_features=4,
                          preprocessing={"input_size": (3, 8, 8), "mean": (0.5, 0.5, 0.5), "crop_pct": 0.9})
"""


def saved(network: nn.Module, folder: Path) -> Path:
    model = tfold.MultiTask(network, tfold.LoRA(1), num_features=4)
    model.add_task("t", head=2)
    return model.save_task("t", folder / "t.safetensors")


def test_a_file_names_the_backbone_that_was_loaded(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    path = saved(load(f"{tmp_path}/net.py:build").network, tmp_path)
    said = card(path)["backbone"]
    assert (said["source"], said["weights"]) == ("net.py:build", None)
    assert said["preprocessing"] == {"input_size": [3, 8, 8], "mean": [0.5, 0.5, 0.5]}
    assert source_words(said).startswith("net.py:build (Sequential in float32), inputs 3 × 8 × 8, fingerprint ")
    assert str(tmp_path).encode() not in path.read_bytes()
    with pytest.raises(
        tfold.TaskFileError, match=r"trained on net\.py:build \(Sequential .* this one is Sequential in"
    ):
        tfold.MultiTask(nn.Sequential(nn.Linear(4, 4)), num_features=4).load_task(path)


@pytest.mark.parametrize(
    ("noted", "source"),
    [
        ({"pretrained_cfg": {"architecture": "resnet18", "tag": "a1_in1k", "mean": (0.5,)}}, "timm:resnet18.a1_in1k"),
        ({"pretrained_cfg": {"architecture": "resnet18", "tag": ""}}, "timm:resnet18"),
        ({"config": SimpleNamespace(_name_or_path="google/vit")}, "hf:google/vit"),
        ({"config": SimpleNamespace(_name_or_path="/home/me/vit")}, "hf:vit"),
        ({"config": SimpleNamespace(_name_or_path="")}, None),
        ({}, None),
    ],
)
def test_libraries_note_in_a_network_what_they_call_it(noted: dict[str, Any], source: str | None) -> None:
    network = nn.Linear(1, 1)
    for name, value in noted.items():
        setattr(network, name, value)
    assert source_of(network).get("source") == source


def test_published_weights_are_loaded_by_what_the_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Linear(4, 4))
    note_source(network, "timm:resnet18", "published", None)
    path = saved(network, tmp_path)
    assert "published weights" in source_words(read_header(path)["backbone"])
    asked: list[str] = []
    monkeypatch.setattr(BackboneConfig, "load", lambda self, *given: asked.append(self.model))
    _tasks._backbone(None, None, [path])
    assert asked == ["timm:resnet18"]
    note_source(network, "timm:resnet18", tmp_path / "mine.pth", None)
    with pytest.raises(UserError, match=r"t\.safetensors was trained on timm:resnet18 .*, weights mine\.pth, fing"):
        _tasks._backbone(None, None, [saved(network, tmp_path)])
