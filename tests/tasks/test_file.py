"""Any task file that is not exactly right is refused, with a clear error and no harm."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask, TaskFileError
from taskfold.tasks import read, read_header, write


def network(width: int = 8) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 8, 3)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.fixture
def model() -> MultiTask:
    made = MultiTask(network(), tfold.FTN(rank=2), num_features=8).eval()
    made.add_task("flowers", head=3, labels=["rose", "lily", "<ünïcode>"], preprocessing={"size": 64})
    return made


@pytest.fixture
def path(model: MultiTask, tmp_path: Path) -> Path:
    return model.save_task("flowers", tmp_path / "flowers.safetensors")


def refused(path: Path, message: str, backbone: nn.Module | None = None, **settings: object) -> None:
    other = MultiTask(backbone or network(), tfold.FTN(rank=2), num_features=8).eval()
    other.add_task("kept", head=2)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        before = other(x, task="kept")
        with pytest.raises((TaskFileError, ValueError, FileNotFoundError), match=message):
            other.load_task(path, **settings)  # type: ignore[arg-type]
        assert list(other.tasks) == ["kept"]
        assert torch.equal(other(x, task="kept"), before)


def test_header_says_everything(path: Path) -> None:
    header = read_header(path)
    assert header["task"] == "flowers"
    assert header["method"] == tfold.FTN(rank=2).as_json()
    assert header["info"]["labels"] == ["rose", "lily", "<ünïcode>"]
    assert header["info"]["preprocessing"] == {"size": 64}
    assert header["backbone"]["fingerprint"] == tfold.fingerprint(network())
    assert header["head"] == {"kind": "linear", "outputs": 3}


def test_another_backbone(path: Path) -> None:
    refused(path, "belongs to another backbone", network(width=9))
    moved = network()
    with torch.no_grad():
        moved[0].weight[0, 0, 0, 0] += 1e-6  # type: ignore[index,union-attr,operator]
    refused(path, "belongs to another backbone", moved)


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.2, 0.6, 0.999])
def test_truncated(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    refused(path, "truncated, damaged or no safetensors file")


def test_any_flipped_byte(path: Path) -> None:
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    spots = [
        *range(0, header, 7),
        *range(header, len(data), max(1, (len(data) - header) // 60)),
        len(data) - 1,
    ]
    for spot in spots:
        damaged = bytearray(data)
        damaged[spot] ^= 1 << (spot % 7)
        path.write_bytes(damaged)
        with pytest.raises(TaskFileError):
            MultiTask(network(), num_features=8).load_task(path)


def test_foreign_safetensors(tmp_path: Path) -> None:
    foreign = tmp_path / "lora.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(2)}, foreign, {"format": "pt"})
    refused(foreign, "is a safetensors file but no task file")
    (tmp_path / "notes.safetensors").write_text("hello, this is text")
    refused(tmp_path / "notes.safetensors", "no safetensors file")
    refused(tmp_path / "nothing.safetensors", "there is no task file")


def test_newer_format(path: Path) -> None:
    with_header(path, format_version=99)
    refused(path, "has format 99, this version of taskfold reads up to 4; upgrade")


def with_header(path: Path, **changes: object) -> None:
    """A file that is whole, but for what it says."""
    with safetensors.safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["taskfold"]) | changes
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {"taskfold": json.dumps(header)})


def changed(path: Path, place: tuple[str, ...], value: object) -> None:
    """A file that says something else, with a digest that fits."""
    contents = read(path)
    header = {key: one for key, one in contents.header.items() if key not in ("digest", "format_version")}
    holder = header
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    write(path, header, contents.tensors)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("head",), "x", "its header.head must be a mapping, found 'x'"),
        (("head",), {"kind": "x", "outputs": 3}, "its header.head.kind must be 'linear', found 'x'"),
        (("head",), {"kind": "linear", "outputs": 0}, "its header.head.outputs must be a whole number ≥ 1, found 0"),
        (("head", "outputs"), 10**8, "names 3 labels for 100000000 outputs"),
        (("backbone",), {}, "its header.backbone lacks 'class'"),
        (("method",), {"settings": {}}, "its header.method lacks 'name'"),
        (("method", "name"), "gone", "does not fit its own method .method 'gone' is not known"),
        (("method", "settings"), [], "its header.method.settings must be a mapping, found a list"),
        (("method", "settings", "rank"), "x", "does not fit its own method .*rank must be"),
        (("method", "settings", "rank"), 10**9, r"does not fit this model: .*would have shape \[1000000000, "),
        (("method", "settings", "rank"), 10**30, "does not fit this model: .*would have shape"),
        (("info",), {}, "its header.info lacks 'labels'"),
        (("info", "labels"), "abc", "its header.info.labels must be a list, found 'abc'"),
        (("info", "labels"), ["a", 1, "c"], r"its header.info.labels\[1\] must be text, found 1"),
        (("info", "labels"), ["a", "b"], "names 2 labels for 3 outputs; they must be as many"),
        (("groups",), [], "its header.groups must be a mapping, found a list"),
        (("task",), "a/b", "task name 'a/b' is not allowed"),
        (("kind",), [], "holds a thing of no known kind, not a task; save the task again"),
    ],
)
def test_a_document_that_is_not_as_it_should_be(
    path: Path, place: tuple[str, ...], value: object, message: str
) -> None:
    changed(path, place, value)
    refused(path, message)


def test_outputs_are_compared_before_a_head_is_made(model: MultiTask, tmp_path: Path) -> None:
    model.add_task("plain", head=3)
    path = model.save_task("plain", tmp_path / "plain.safetensors")
    changed(path, ("head", "outputs"), 10**12)
    refused(path, r"says that its head has 1000000000000 outputs, and its weight is one of shape \[3, 8\]")


@pytest.mark.parametrize("text", ["[" * 200_000 + "]" * 200_000, '{"a":' * 400 + "1" + "}" * 400, "1" * 5000])
def test_a_document_that_cannot_be_read(path: Path, text: str) -> None:
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {"taskfold": text})
    refused(path, "is damaged: ")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("out0", lambda tensor: tensor.half(), "holds float16.* where float32 is wanted"),
        ("out0", lambda tensor: tensor.double(), "holds float64, and others of float32, where float32 is wanted"),
        ("out0", lambda tensor: tensor.int(), "holds int32.* where float32 is wanted"),
        ("out0", lambda tensor: tensor / 0, "holds numbers that are not finite; train the task again"),
        ("running_var", lambda tensor: -tensor, "holds negative variances; train the task again"),
    ],
)
def test_numbers_that_no_layer_can_have(
    tmp_path: Path, name: str, change: Callable[[Tensor], Tensor], message: str
) -> None:
    path = owning().save_task("flowers", tmp_path / "own.safetensors")
    contents = read(path)
    header = {key: one for key, one in contents.header.items() if key not in ("digest", "format_version")}
    last = [key for key in contents.tensors if key.endswith(name)][-1]
    write(path, header, {**contents.tensors, last: change(contents.tensors[last])})
    refused(path, message)


def owning() -> MultiTask:
    made = MultiTask(network(), tfold.FTN(rank=2, statistics="own"), num_features=8).eval()
    made.add_task("flowers", head=3)
    return made


def test_numbers_that_are_not_finite_are_not_saved(path: Path) -> None:
    before, model = path.read_bytes(), owning()
    next(buffer for name, buffer in model["flowers"].named_buffers() if name.endswith("running_var")).fill_(torch.inf)
    with pytest.raises(
        ValueError, match=r"cannot save task 'flowers': .*running_var' holds numbers that are not finite"
    ):
        model.save_task("flowers", path)
    assert path.read_bytes() == before


def test_shapes_that_do_not_fit(path: Path) -> None:
    contents = read(path)
    key = next(key for key in contents.tensors if key.endswith("out0"))
    header = {k: v for k, v in contents.header.items() if k not in ("digest", "format_version")}
    write(path, header, {**contents.tensors, key: torch.zeros(3, 8)})
    refused(path, "has shape \\[3, 8\\], this backbone and head need \\[2, 8\\]")
    write(path, header, {k: v for k, v in contents.tensors.items() if k != key})
    refused(path, "lacks tensor")
    write(path, header, {**contents.tensors, "more": torch.zeros(1)})
    refused(path, "has an unknown tensor 'more'")


def test_name_taken_and_renamed(model: MultiTask, path: Path) -> None:
    with pytest.raises(ValueError, match="exists already; load it under another name"):
        model.load_task(path)
    assert model.load_task(path, name="again").name == "again"


def test_a_head_of_the_users_own(model: MultiTask, tmp_path: Path) -> None:
    head = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    model.add_task("deep", head=copy.deepcopy(head))
    path = model.save_task("deep", tmp_path / "deep.safetensors")
    refused(path, "head of the user's own; give the module")
    refused(path, "lacks tensor 'head|has an unknown tensor|has shape", head=nn.Linear(8, 2))
    other = MultiTask(network(), num_features=8).eval()
    other.load_task(path, head=head)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(other(x, task="deep"), model(x, task="deep"))


def test_a_failed_write_leaves_the_old_file(model: MultiTask, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        model.save_task("flowers", path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with pytest.raises(FileNotFoundError, match="create it first"):
        model.save_task("flowers", path.parent / "missing" / "a.safetensors")
