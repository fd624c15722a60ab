from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from taskfold.data import DataError, MissingDataError, UnreadableImageError, check, open_image
from taskfold.data.sources import Folder

THREE = ["train/cat:4", "train/dog:4", "val/cat:1", "val/dog:1", "test/cat:2", "test/dog:2"]


def test_official_splits_are_kept(tmp_path: Path, tree: Any) -> None:
    data = Folder(root=tree(tmp_path / "pets", THREE)).load()
    assert (data.name, data.labels, data.notes) == ("pets", ("cat", "dog"), ())
    assert [len(images) for images in data.splits.values()] == [8, 2, 4]
    assert data.test.names[-1] == "test/dog/1.png"
    assert data.test.targets == [0, 0, 1, 1]
    assert data.train.read(0).size == (8, 8)


def test_val_comes_out_of_train_and_never_out_of_test(tmp_path: Path, tree: Any) -> None:
    data = Folder(root=tree(tmp_path, ["train/cat:10", "train/dog:10", "test/cat:2", "test/dog:2"])).load()
    assert [len(images) for images in data.splits.values()] == [18, 2, 4]


def test_validation_may_be_spelt_out(tmp_path: Path, tree: Any) -> None:
    data = Folder(root=tree(tmp_path, ["train/cat:5", "train/dog:5", "validation/cat:3", "test/dog:2"])).load()
    assert len(data.val) == 3


def test_a_test_set_comes_out_of_train_where_there_is_none(tmp_path: Path, tree: Any) -> None:
    data = Folder(root=tree(tmp_path, ["train/cat:10", "train/dog:10", "val/cat:1", "val/dog:1"])).load()
    assert [len(images) for images in data.splits.values()] == [16, 2, 4]


def test_images_may_lie_deeper_and_other_files_are_noted(tmp_path: Path, tree: Any) -> None:
    root = tree(tmp_path, ["cat/indoors:3", "cat:3", "dog:3", ".cache:1"])
    (root / "dog" / "notes.txt").write_text("good dog")
    (root / "dog" / ".DS_Store").write_text("")
    (root / "list.csv").write_text("")
    data = Folder(root=root).load()
    assert data.labels == ("cat", "dog")
    assert sum(map(len, data.splits.values())) == 9
    assert data.notes[0].endswith("not images that Taskfold reads: dog/notes.txt, list.csv")


def test_images_are_known_by_all_endings_that_are_read(tmp_path: Path, tree: Any) -> None:
    root = tree(tmp_path, ["cat:3", "dog:3"])
    for kind, end in (("JPEG", "jfif"), ("PNG", "apng"), ("WEBP", "WebP")):
        Image.new("RGB", (4, 4)).save(root / "cat" / f"a.{end}", kind)
    (root / "cat" / "a.eps").write_text("%!PS")
    data = Folder(root=root).load()
    assert sum(map(len, data.splits.values())) == 9
    assert data.notes[0].endswith("not images that Taskfold reads: cat/a.eps")


def test_links_are_followed_and_those_that_lead_up_are_refused(tmp_path: Path, tree: Any) -> None:
    root = tree(tmp_path / "pets", ["cat:3", "dog:3"])
    elsewhere = tree(tmp_path, ["more:2"]) / "more"
    (root / "cat" / "more").symlink_to(elsewhere)
    assert sum(map(len, Folder(root=root).load().splits.values())) == 8
    for up in ("..", "."):
        (root / "cat" / "loop").symlink_to(up)
        with pytest.raises(DataError, match=r"cat/loop is a link to .*, in which it stands: remove it"):
            Folder(root=root).load()
        (root / "cat" / "loop").unlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_no_image(tmp_path: Path, tree: Any) -> None:
    root = tree(tmp_path, ["cat:3", "dog:3"])
    os.mkfifo(root / "cat" / "pipe.png")
    assert Folder(root=root).load().notes[0].endswith("not images that Taskfold reads: cat/pipe.png")
    with pytest.raises(UnreadableImageError, match="it is no file; remove it"):
        open_image(root / "cat" / "pipe.png")


def test_capital_suffixes_count(tmp_path: Path, paint: Any) -> None:
    for label in ("cat", "dog"):
        for n in range(3):
            paint(tmp_path / label / f"{n}.JPG")
    assert len(Folder(root=tmp_path).load().train) == 2


def test_an_empty_class_and_an_unlearnt_class_are_found(tmp_path: Path, tree: Any) -> None:
    empty = Folder(root=tree(tmp_path / "a", [*THREE, "train/owl:0"])).load()
    assert [problem.kind for problem in check(empty)] == ["empty class"]
    unlearnt = Folder(root=tree(tmp_path / "b", [*THREE, "test/owl:1"])).load()
    assert [problem.kind for problem in check(unlearnt)] == ["class not in train"]


def test_labels_fix_the_order(tmp_path: Path, tree: Any) -> None:
    data = Folder(root=tree(tmp_path, THREE), labels=("dog", "cat")).load()
    assert data.test.targets == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("folders", "settings", "message"),
    [
        (THREE, {"labels": ("cat", "owl")}, "folders dog, not among the labels: cat, owl"),
        ([], {}, "no class folders"),
        (["test/cat:1"], {}, "no train folder"),
        (["train/cat:1", "cat:1"], {}, "train beside cat"),
        (["train/cat:1", "val/cat:1", "valid/cat:1"], {}, "one split twice: val, valid"),
    ],
)
def test_a_strange_layout_is_refused(
    tmp_path: Path, tree: Any, folders: list[str], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Folder(root=tree(tmp_path, folders), **settings).load()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"root: must be a folder, but .*nowhere does not exist"):
        Folder(root=tmp_path / "nowhere").load()
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingDataError, match="is a file"):
        Folder(root=tmp_path / "file").load()
