"""A task file is refused, with a clear error and no harm, whenever it is not exactly right."""

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


def shared(method: tfold.Method, *tasks: str) -> MultiTask:
    model = MultiTask(network(), method, num_features=8).eval()
    for name in tasks:
        model.add_task(name, head=2)
    with torch.no_grad():
        for number in [*model.inventory.parameters(), *model.tasks.parameters()]:
            number.normal_()
    return model


SHARED = {"shared": tfold.FTN(rank=2, sharing="shared"), "routed": tfold.FTN(rank=2, sharing="tensorpoly-i")}
every_shared = pytest.mark.parametrize("method", SHARED.values(), ids=SHARED)
X = torch.randn(2, 3, 8, 8)


@every_shared
def test_a_standalone_file_holds_the_inventory(method: tfold.Method, tmp_path: Path) -> None:
    model = shared(method, "a", "b")
    path = model.save_task("a", tmp_path / "a.safetensors", standalone=True)
    other = MultiTask(network(), num_features=8).eval()
    other.load_task(path)
    other.load_task(path, name="twice")
    assert torch.equal(other(X, task="a"), model(X, task="a"))
    strange = shared(method, "own")
    with pytest.raises(TaskFileError, match="stands on other shared factors"):
        strange.load_task(path)
    assert list(strange.tasks) == ["own"]
    with pytest.raises(ValueError, match="share its sizes"):
        model.add_task("c", rank=3)


@every_shared
def test_a_file_names_the_inventory_it_stands_on(method: tfold.Method, tmp_path: Path) -> None:
    model = shared(method, "a", "b")
    inventory = model.save_inventory(tmp_path / "inventory.safetensors")
    files = [model.save_task(name, tmp_path / f"{name}.safetensors") for name in ("a", "b")]
    other = MultiTask(network(), num_features=8).eval()
    with pytest.raises(TaskFileError, match="does not hold; load its file first"):
        other.load_task(files[0])
    assert not len(other.inventory) and not len(other.tasks)
    other.load_inventory(inventory)
    other.load_inventory(inventory)  # the same again: nothing to do
    for file in files:
        task = other.load_task(file)
        assert torch.equal(other(X, task=task.name), model(X, task=task.name))
    strange = shared(method, "own")
    with pytest.raises(TaskFileError, match="stands on another inventory"):
        strange.load_task(files[0])
    with pytest.raises(TaskFileError, match="holds another inventory than this model"):
        strange.load_inventory(inventory)
    assert list(strange.tasks) == ["own"]


def test_kinds_of_files_are_told_apart(tmp_path: Path) -> None:
    model = shared(SHARED["routed"], "a")
    inventory = model.save_inventory(tmp_path / "inventory.safetensors")
    task = model.save_task("a", tmp_path / "a.safetensors")
    with pytest.raises(TaskFileError, match=r"holds an inventory, not a task; load it with model\.load_inventory"):
        model.load_task(inventory)
    with pytest.raises(TaskFileError, match=r"holds a task, not an inventory; load it with model\.load_task"):
        model.load_inventory(task)
    inventory.write_bytes(inventory.read_bytes()[:-1] + b"?")
    with pytest.raises(TaskFileError, match="damaged"):
        model.load_inventory(inventory)
    other = MultiTask(nn.Sequential(nn.Conv2d(3, 8, 3)), num_features=8)
    with pytest.raises(TaskFileError, match="belongs to another backbone"):
        other.load_inventory(model.save_inventory(tmp_path / "other.safetensors"))
    with pytest.raises(ValueError, match="shares nothing between tasks"):
        MultiTask(network(), tfold.FTN()).save_inventory(tmp_path / "none.safetensors")


POLY = tfold.Poly(rank=2, skills=3)
ROWS = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6), nn.Linear(6, 4))


def team(method: tfold.Method = POLY) -> MultiTask:
    """Two tasks, all numbers random."""
    made = MultiTask(plain(), method, num_features=4).eval()
    made.add_task("a", head=3)
    made.add_task("b")
    for number in [*made.tasks.parameters(), *made.inventory.parameters()]:
        nn.init.normal_(number, std=0.5)
    return made


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "method", [POLY, tfold.TensorPolyII(rank=2, tensor_rank=3, granularity="model"), tfold.LoRA(rank=2, norm=True)]
)
def test_half_precision_comes_back_as_it_was(method: tfold.Method, dtype: torch.dtype, tmp_path: Path) -> None:
    made = team(method)
    if len(made.inventory):
        made.transfer_task("new", mode="all", head=2)
    made.to(dtype)
    names, x = list(made.tasks), ROWS.to(dtype)
    outputs = {name: made(x, task=name) for name in names}
    files = {name: made.save_task(name, tmp_path / name) for name in names}
    whole = {name: made.save_task(name, tmp_path / f"{name}.whole", standalone=True) for name in names}
    inventory = made.save_inventory(tmp_path / "inventory") if len(made.inventory) else None
    for first in ("inventory", "whole"):
        other = MultiTask(plain().to(dtype), num_features=4).eval()
        if first == "inventory" and inventory is not None:
            other.load_inventory(inventory)
        for name in names:
            if first == "whole":
                other.load_task(whole[name], name=f"{name}-whole")
                assert torch.equal(other(x, task=f"{name}-whole"), outputs[name])
            other.load_task(files[name])
            assert torch.equal(other(x, task=name), outputs[name])
            assert other.save_task(name, tmp_path / "again").read_bytes() == files[name].read_bytes()


@pytest.mark.parametrize("standalone", [False, True])
def test_an_inventory_of_another_size_is_named_as_such(standalone: bool, tmp_path: Path) -> None:
    file = team().save_task("a", tmp_path / "a.safetensors", standalone=standalone)
    other = MultiTask(plain(), num_features=4)
    other.load_inventory(team(tfold.Poly(rank=3, skills=2)).save_inventory(tmp_path / "inventory"))
    held = len(other.inventory)
    with pytest.raises(TaskFileError, match=r"a\.safetensors stands on another inventory \(fingerprint .* its own"):
        other.load_task(file)
    assert (list(other.tasks), len(other.inventory)) == ([], held)


def test_a_missing_inventory_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no inventory file '.*nope'"):
        MultiTask(plain()).load_inventory(tmp_path / "nope")


TYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def normalised(*types: torch.dtype) -> nn.Module:
    """A network that has been cast, to one type after another."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Linear(6, 4, bias=False), nn.LayerNorm(4))
    for dtype in types:
        made = made.to(dtype)
    return made


def stored(path: Path, *types: torch.dtype) -> tuple[MultiTask, Path]:
    model = MultiTask(normalised(*types), tfold.LoRA(rank=2, norm=True), num_features=4).eval()
    with torch.no_grad():
        for number in model.add_task("a", head=3).parameters():
            number += 0.1 * torch.randn_like(number)
    return model, model.save_task("a", path / "a.safetensors")


@pytest.mark.parametrize("serves", TYPES, ids=str)
@pytest.mark.parametrize("trained", TYPES, ids=str)
def test_a_task_is_served_in_another_type(trained: torch.dtype, serves: torch.dtype, tmp_path: Path) -> None:
    model, path = stored(tmp_path, trained)
    x = torch.randn(5, 8)
    other = MultiTask(normalised(trained, serves), num_features=4).eval()
    other.load_task(path)
    found = other(x.to(serves), task="a")
    assert found.dtype == serves
    assert all(p.element_size() >= 4 for p in other["a"].parameters())
    for same in (other.fold("a")(x.to(serves)), torch.stack([*other.bank()(x.to(serves), task=["a"] * 5)])):
        torch.testing.assert_close(same, found, rtol=0.05, atol=0.05)
    torch.testing.assert_close(found.double(), model(x.to(trained), task="a").double(), rtol=0.05, atol=0.05)
    if {trained, serves} != {torch.bfloat16, torch.float16}:  # rounded from one to the other it is a third
        MultiTask(normalised(serves), num_features=4).load_task(path)


def test_some_layers_in_another_type(tmp_path: Path) -> None:
    _, path = stored(tmp_path, torch.float32)
    network = normalised(torch.float32)
    network[0].bfloat16()  # type: ignore[index,operator]
    MultiTask(network, num_features=4).load_task(path)


@pytest.mark.parametrize("serves", TYPES, ids=str)
def test_another_network_in_another_type_is_refused(serves: torch.dtype, tmp_path: Path) -> None:
    _, path = stored(tmp_path, torch.float32)
    network = normalised(serves)
    with torch.no_grad():
        network[1].running_mean[2] += 0.02  # type: ignore[index,union-attr,operator]
    with pytest.raises(
        TaskFileError, match=r"belongs to another backbone: .* Sequential in float32, fingerprint .*in "
    ):
        MultiTask(network, num_features=4).load_task(path)


def test_a_fingerprint_is_of_values() -> None:
    half = normalised(torch.bfloat16)
    assert tfold.fingerprint(half) == tfold.fingerprint(normalised(torch.bfloat16, torch.float64))
    assert tfold.fingerprint(half) != tfold.fingerprint(normalised(torch.float32))
