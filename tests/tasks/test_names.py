"""A task's name can be a file's name on any system, and never another task's file."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

import taskfold as tfold
from taskfold.tasks import check_name, write_atomically


def made(*names: str) -> tfold.MultiTask:
    network = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    model = tfold.MultiTask(network, tfold.HeadNorm(), num_features=4)
    for name in names:
        model.add_task(name, head=2)
    return model


@pytest.mark.parametrize(
    "name", ["a:b", "what?", "a*b", "<x>", "pipe|", 'say "so"', "a/b", "a\\b", "a.b", " a", "a\n", ""]
)
def test_characters_that_no_file_may_have(name: str) -> None:
    with pytest.raises(ValueError, match="is not allowed: 1 to 100 printable characters"):
        made(name)


@pytest.mark.parametrize("name", ["NUL", "con", "Aux", "prn", "COM1", "lpt9", "com²", "CONOUT$", "conin$"])
def test_names_that_windows_keeps_for_devices(name: str) -> None:
    with pytest.raises(ValueError, match="Windows keeps it for a device; choose another"):
        made(name)


@pytest.mark.parametrize(
    "name", ["console", "nul-1", "com", "com10", "lpt", "auxiliary", "a b", "日本語", "it's (new) + #1"]
)
def test_names_that_look_alike_are_allowed(name: str, tmp_path: Path) -> None:
    assert made(name).save_task(name, tmp_path / f"{name}.safetensors").is_file()


PAIRS = [
    ("Cars", "cars"),
    ("caf\u00e9", "cafe\u0301"),
    ("CAF\u00c9", "cafe\u0301"),
    ("Straße", "STRASSE"),
    ("Ω", "\u2126"),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_names_of_one_file_are_taken(first: str, second: str, tmp_path: Path) -> None:
    for one, other in ((first, second), (second, first)):
        model = made(one, "third")
        with pytest.raises(ValueError, match=r"in the case or composition of letters alone.*remove it first"):
            model.add_task(other, head=2)
        with pytest.raises(ValueError, match="in the case or composition of letters alone"):
            model.rename_task("third", other)
        stored = made(other).save_task(other, tmp_path / "other.safetensors")
        same = tfold.MultiTask(model.backbone, tfold.HeadNorm(), num_features=4)
        same.add_task(other, head=2)
        stored = same.save_task(other, stored)
        with pytest.raises(ValueError, match=r"in the case or composition of letters alone.*load_task\(…, name=…\)"):
            model.load_task(stored)
        assert list(model.tasks) == [one, "third"]
        model.rename_task(one, other)  # no other task has it
        assert list(model.tasks) == ["third", other]


@pytest.mark.parametrize(
    ("name", "size"), [("語" * 80, 240), ("é" * 100, 200), ("a" * 100, 100), ("\U00020000" * 60, 240)]
)
def test_any_name_that_is_allowed_can_be_saved(name: str, size: int, tmp_path: Path) -> None:
    assert len(check_name(name).encode()) == size
    model = made(name)
    path = model.save_task(name, tmp_path / f"{name}.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    model.remove_task(name)
    assert model.load_task(path).name == name


def test_names_are_measured_in_bytes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 243 bytes where they have room for 240; choose a shorter one"):
        made("語" * 81)
    model = made("a")
    with pytest.raises(ValueError, match="the name of a file may have 255 bytes, found 312; choose a shorter one"):
        model.save_task("a", tmp_path / f"{'語' * 100}.safetensors")
    assert not list(tmp_path.iterdir())
    write_atomically(tmp_path / ("語" * 85), b"255 bytes")
