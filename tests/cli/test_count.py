"""Exact counts, from architectures alone."""

from __future__ import annotations

import json

import pytest

from .conftest import Run


@pytest.mark.parametrize(
    ("model", "method", "rank", "factors"),
    [
        ("timm:resnet18", "ftn", 1, 8_723),
        ("timm:resnet34", "ftn", 1, 16_291),
        ("timm:resnet50", "ftn", 1, 49_204),
        ("torchvision:resnet18", "ftn", 1, 8_723),
        ("timm:vit_base_patch32_224", "ftn-qv", 4, 81_024),
        ("timm:vit_base_patch32_224", "ftn-output", 4, 40_512),
        ("timm:vit_base_patch32_224", "lora", 4, 147_456),
    ],
)
def test_the_papers_counts(run: Run, model: str, method: str, rank: int, factors: int) -> None:
    result = run("count", "--model", model, "--method", method, "--set", f"rank={rank}", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert set(found) == {"backbone", "per_task", "shared", "routing", "adapter_total"}
    assert set(found["per_task"]) == {"factors", "norm", "head"}
    assert found["per_task"]["factors"] == factors


def test_five_tasks_with_their_backbone(run: Run) -> None:
    result = run("count", "--model", "timm:resnet50", "--set", "rank=50", "--tasks", 5, "--json")
    found = json.loads(result.stdout)
    assert found["backbone"] - found["per_task"]["norm"] + found["adapter_total"] == 36_021_512


def test_settings_and_head(run: Run) -> None:
    settings = ["--set", "rank={layer4.*: 2, '*': 1}", "--set", "norm=false", "--head", 10]
    found = json.loads(run("count", "--model", "timm:resnet18", *settings, "--json").stdout)
    assert found["per_task"]["norm"] == 0
    assert found["per_task"]["head"] == 10 * 513
    assert 8_723 < found["per_task"]["factors"] < 2 * 8_723


def test_a_table_for_people(run: Run) -> None:
    result = run("count", "--model", "timm:resnet18", "--set", "rank=1", "--tasks", 2)
    assert "8,723" in result.stdout
    assert "adapters of 2 tasks" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "fnt"], "method 'fnt' is not known; did you mean ftn?"),
        (["--set", "rnk=1"], "did you mean rank?"),
        (["--set", "rank=0"], "rank must be"),
        (["--set", "rank"], "must be KEY=VALUE"),
        (["--method", "ftn-qv"], "no layer"),
    ],
)
def test_what_cannot_be_counted_is_said(run: Run, arguments: list[str], message: str) -> None:
    result = run("count", "--model", "timm:resnet18", *arguments, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


def test_impossible_numbers_are_usage_errors(run: Run) -> None:
    assert run("count", "--model", "timm:resnet18", "--tasks", 0).exit_code == 2
