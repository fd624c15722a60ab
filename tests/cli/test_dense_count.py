"""The costs of dense tasks, and their cards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from taskfold.backbones import load
from taskfold.config import NetworkConfig
from taskfold.dense import build_network

from .conftest import Run


class TestCount:
    @pytest.mark.parametrize("method", ["ftn", "over-parameterised", "head-only"])
    def test_a_network_with_a_head_of_its_own(self, method: str, run: Run) -> None:
        result = run("count", "--model", "{network: segnet, width: 8}", "--method", method, "--head", 13, "--json")
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)
        network = build_network("segnet", {"width": 8})
        assert found["backbone"] == sum(p.numel() for p in network.backbone.parameters())
        assert found["per_task"]["head"] == (8 * 8 * 9 + 8) + (8 * 13 + 13)

    def test_its_name_alone(self, run: Run) -> None:
        found = json.loads(run("count", "--model", "segnet", "--json").stdout)
        assert found["backbone"] == sum(p.numel() for p in build_network("segnet").backbone.parameters())

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            ("{network: segnett}", "--model: network: network 'segnett' is not known; did you mean segnet?"),
            ("{network: segnet, width: no}", "--model: width: must be a whole number, found 'no'"),
            ("{network: segnet", "--model, line 1"),
            ("segnett", "backbone 'segnett' is not known"),
        ],
    )
    def test_what_is_not_known_is_said(self, model: str, message: str, run: Run) -> None:
        result = run("count", "--model", model)
        assert result.exit_code == 1
        assert message in result.stderr


def test_weights_of_a_network_count_from_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    encoder = load("timm:resnet18", pretrained=False).network
    torch.save(encoder.state_dict(), tmp_path / "sub" / "resnet.pth")
    monkeypatch.chdir(tmp_path)
    chosen = NetworkConfig(network="deeplab", settings={"width": 8, "weights": "resnet.pth"})
    network = chosen.load(Path("sub")).network
    assert torch.equal(network.get_parameter("encoder.conv1.weight"), encoder.get_parameter("conv1.weight"))
