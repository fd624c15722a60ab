from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskfold.data import MissingDataError, Preprocessing
from taskfold.data.sources import ImageNetToSketch


def test_the_layout_is_read_and_odd_counts_are_noted(tmp_path: Path, tree: Any) -> None:
    tree(tmp_path / "flowers", ["train/rose:10", "train/tulip:10", "test/rose:3", "test/tulip:3"])
    data = ImageNetToSketch(root=tmp_path, dataset="flowers").load()
    assert (data.name, data.labels) == ("flowers", ("rose", "tulip"))
    assert [len(images) for images in data.splits.values()] == [18, 2, 6]
    assert data.test.names[0] == "flowers/test/rose/0.png"
    assert "2 classes found where flowers has 102" in data.notes


def test_a_full_set_is_not_remarked_upon(tmp_path: Path, tree: Any) -> None:
    tree(
        tmp_path / "flowers",
        [f"{split}/{n:03}:{size}" for n in range(102) for split, size in (("train", 2), ("test", 1))],
    )
    data = ImageNetToSketch(root=tmp_path, dataset="flowers").load()
    assert len(data.labels) == 102
    assert not any("classes found" in note for note in data.notes)


def test_augmentation_follows_the_benchmark() -> None:
    base = Preprocessing(size=224)
    cropped = ImageNetToSketch(root=Path("x"), dataset="cubs_cropped").preprocessing(base)
    other = ImageNetToSketch(root=Path("x"), dataset="wikiart").preprocessing(base)
    assert (cropped.resize, cropped.crop, cropped.flip) == ("squash", "none", True)
    assert (other.resize, other.crop, other.flip) == ("shorter-side+crop", "random-resized", True)


@pytest.mark.parametrize(("folders", "key"), [([], "root/dataset: "), (["sketches/train/a:1"], "root/dataset/test: ")])
def test_what_is_missing_is_named(tmp_path: Path, tree: Any, folders: list[str], key: str) -> None:
    with pytest.raises(MissingDataError, match=key):
        ImageNetToSketch(root=tree(tmp_path, folders), dataset="sketches").load()
