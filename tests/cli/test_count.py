"""Exact counts, from architectures alone."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from torch import nn

import taskfold as tfold
from taskfold.config import parse_backbone
from taskfold.methods import build

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
    assert set(found) == {"backbone", "per_task", "shared", "routing", "adapter_total", "contracted"}
    assert set(found["per_task"]) == {"factors", "norm", "head", "bits"}
    assert found["per_task"]["factors"] == factors


@pytest.mark.parametrize("statistics", ["backbone", "adapted", "own"])
def test_statistics_are_no_parameters(run: Run, statistics: str) -> None:
    setting = f"statistics={statistics}"
    result = run("count", "--model", "timm:resnet18", "--method", "head-norm", "--set", setting, "--json")
    assert json.loads(result.stdout)["per_task"] == {"factors": 0, "norm": 9_600, "head": 0, "bits": 0}


@cache
def t5_xl() -> nn.Module:
    return parse_backbone("hf:t5-xl", "--model").load(meta=True).network


def counted(method: str, tasks: int = 1, **settings: Any) -> dict[str, Any]:
    """What `taskfold count --json` prints: its own tests are those that `run` it."""
    return tfold.count(t5_xl(), build(method, settings), tasks=tasks).as_json()


T5_XL = [  # numbers without routing; routing of one task, or of all 313 with it
    ("lora", {"rank": 1}, 2_211_840, 0, 2_211_840),
    ("tlora", {"rank": 16, "tensor_rank": 1, "order": 2}, 1_391_616, 0, 1_391_616),
    ("poly", {"rank": 1, "skills": 8}, 17_694_720, 3_456, 18_776_448),
    ("mhr", {"rank": 1, "skills": 8, "splits": 64}, 17_694_720, 221_184, 86_925_312),
    ("tensorpoly-i", {"rank": 16, "tensor_rank": 8, "order": 2}, None, 3_456, 12_214_656),
    pytest.param(
        "tensorpoly-i", {"rank": 16, "tensor_rank": 20, "order": 2}, None, 8_640, 30_536_640, marks=pytest.mark.whole
    ),
    pytest.param(
        "tensorpoly-i", {"rank": 16, "tensor_rank": 8, "order": 4}, None, 3_456, 4_325_760, marks=pytest.mark.whole
    ),
    pytest.param(
        "tensorpoly-ii", {"rank": 16, "tensor_rank": 8, "order": 2}, None, 6_912, 13_296_384, marks=pytest.mark.whole
    ),
    pytest.param(
        "tensorpoly-ii", {"rank": 16, "tensor_rank": 20, "order": 2}, None, 17_280, 33_240_960, marks=pytest.mark.whole
    ),
    ("tensorpoly-ii", {"rank": 16, "tensor_rank": 8, "order": 4}, None, 13_824, 7_570_944),
]


@pytest.mark.parametrize(("method", "settings", "modules", "routing", "total"), T5_XL)
def test_a_t5_of_three_billion(
    method: str, settings: dict[str, int], modules: int | None, routing: int, total: int
) -> None:
    tasks = 313 if routing else 1
    found = counted(method, tasks, **settings)
    assert (found["adapter_total"], found["routing"]) == (total, tasks * routing)
    assert modules in (None, found["shared"] + tasks * found["per_task"]["factors"])
    assert found["per_task"]["norm"] == 0


def test_many_tasks_of_a_t5_of_three_billion_on_the_command_line(run: Run) -> None:
    pairs = ["--set", "rank=1", "--set", "skills=8"]
    result = run("count", "--model", "hf:t5-xl", "--method", "poly", *pairs, "--tasks", 313, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == counted("poly", 313, rank=1, skills=8)


def test_rows_before_the_text_of_a_t5_of_three_billion() -> None:
    for method, total in (
        (tfold.PromptTuning(), 40_960),
        (tfold.PrefixTuning(), 589_824),
        (tfold.PrefixTuning(mlp=512), 154_449_408),
    ):
        assert tfold.count(t5_xl(), method).adapter_total == total


@pytest.mark.whole  # each looks at 558 tensors of 2.8 billion numbers
def test_rows_of_t_fews_table_over_the_whole_network() -> None:
    network = t5_xl()
    assert tfold.count(network, tfold.LoRA(rank=4, norm=True)).adapter_total == 9_097_216
    assert tfold.count(network, tfold.SAID()).per_task["factors"] == 500_000
    for share, places in ((0.002, 5_699_514), (0.0002, 569_951)):
        found = tfold.count(network, tfold.FishMask(share))
        assert (found.per_task["factors"], found.per_task["indices"]) == (places, places)
        assert found.bits == 32 * places


def test_rows_of_a_vision_transformers_table() -> None:
    network = parse_backbone("timm:vit_base_patch32_clip_224", "--model").load(meta=True).network
    rows = {"svft": 55_296, "kadaptation": 50_176, "ssf": 207_360, "adaptformer": 1_189_632}
    assert {name: tfold.count(network, build(name)).adapter_total for name in rows} == rows


def test_adapters_of_a_t5_of_three_billion(run: Run) -> None:
    found = json.loads(run("count", "--model", "hf:t5-xl", "--method", "adapter", "--json").stdout)
    assert (found["adapter_total"], found["per_task"]["norm"], found["contracted"]) == (12_934_144, 249_856, None)
    pairs = ["--set", "places=houlsby", "--set", "targets=['*', '!*EncDecAttention*']"]
    table = run("count", "--model", "hf:t5-xl", "--method", "adapter", *pairs).stdout
    assert f"{25_618_432:,}" in table
    assert "folded" not in table
    assert counted("adapter", places="houlsby")["adapter_total"] == 31_960_576


@pytest.mark.parametrize(
    ("method", "total"),
    [
        ("bitfit", 1_331_200),  # the network has no biases, so that its linear layers get some, all but `wo`
        ("layernorm", 249_856),
        ("ia3", 540_672),
        ("compacter", 870_400),
        ("compacter++", 560_128),
        ("compacter slow=common", 858_176),
    ],
)
def test_rows_of_t_fews_table(method: str, total: int) -> None:
    name, *settings = method.split()
    assert counted(name, **dict(pair.split("=") for pair in settings))["adapter_total"] == total


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


def test_bits_are_counted_apart(run: Run) -> None:
    arguments = ("count", "--model", "torchvision:resnet50", "--method", "piggyback")
    found = json.loads(run(*arguments, "--json").stdout)
    assert found["per_task"] == {"factors": 0, "norm": 0, "head": 0, "bits": 23_454_912}
    assert found["adapter_total"] == 0
    assert "23,454,912 bits" in run(*arguments).stdout


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
        (["--method", "ftn-qv"], "no attention to adapt"),
    ],
)
def test_what_cannot_be_counted_is_said(run: Run, arguments: list[str], message: str) -> None:
    result = run("count", "--model", "timm:resnet18", *arguments, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


def test_impossible_numbers_are_usage_errors(run: Run) -> None:
    assert run("count", "--model", "timm:resnet18", "--tasks", 0).exit_code == 2


def test_layers_are_listed_by_block(run: Run) -> None:
    words = ("count", "--model", "timm:resnet18", "--method", "ftn", "--set", "rank=1", "--layers")
    rows = json.loads(run(*words, "--json").stdout)["layers"]
    assert rows[0]["block"] == "conv1"
    assert rows[0]["why"] == "first convolution (stem=False)"
    assert sum(row["numbers"] for row in rows if row["adapted"] == "beside") == 8_723
    shown = run(*words).stdout
    assert "layer4.1" in shown
    assert "no: first convolution" in shown


def test_tied_tensors_count_once() -> None:
    network = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5, bias=False))
    network[2].weight = network[0].weight
    found = tfold.count(network, tfold.HardSharing())
    assert found.shared == found.backbone == found.contracted == 20 + 20
    method = tfold.LoRA(rank=1, layers="linear", targets="2")
    model = tfold.MultiTask(network, method)
    model.add_task("a")
    folded = sum(p.numel() for p in model.fold("a").parameters())
    assert tfold.count(network, method).contracted == folded == 20 + 20 + 20
