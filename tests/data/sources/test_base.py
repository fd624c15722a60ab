from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from taskfold.data import DataError, parse_source
from taskfold.data.sources import Folder


def test_kind_tells_sources_apart() -> None:
    assert isinstance(parse_source({"kind": "folder", "root": "here"}), Folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "foldr", "root": "x"}, "foldr.*'cifar10', 'cifar100', 'csv', 'domainnet'"),
        ({"root": "x"}, "kind"),
        ({"kind": "folder"}, "root"),
        ({"kind": "folder", "root": "x", "rooot": "y"}, "rooot"),
        ({"kind": "folder", "root": "x", "val_fraction": 1}, "val_fraction"),
        ({"kind": "folder", "root": "x", "train_size": 0}, "train_size"),
        ({"kind": "packaged", "name": "cifar"}, "'mnist', 'digits', 'animals', 'fashion-mnist' or 'elpv'"),
        ({"kind": "dtd", "root": "x", "partition": 11}, "partition"),
    ],
)
def test_what_cannot_be_is_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parse_source(settings)


@pytest.fixture
def root(tmp_path: Path, tree: Any) -> Path:
    return tree(tmp_path / "pets", ["cat:30", "dog:20"])


def test_splits_do_not_overlap_and_lose_nothing(root: Path) -> None:
    data = Folder(root=root).load(seed=3)
    sizes = {split: len(images) for split, images in data.splits.items()}
    assert sizes == {"train": 36, "val": 4, "test": 10}
    assert len({name for images in data.splits.values() for name in images.names}) == 50
    assert any("seed 3" in note for note in data.notes)


def test_the_seed_decides(root: Path) -> None:
    first, same, other = (Folder(root=root).load(seed=seed) for seed in (0, 0, 1))
    assert first.test.names == same.test.names
    assert first.val.names == same.val.names
    assert first.test.names != other.test.names


def test_copies_of_an_image_stay_in_one_split(root: Path) -> None:
    for path in list((root / "cat").iterdir()):
        path.with_stem(f"copy of {path.stem}").write_bytes(path.read_bytes())
    splits = Folder(root=root, val_fraction=0.3).load().splits
    contents = [{(root / name).read_bytes() for name in images.names} for images in splits.values()]
    assert sum(map(len, contents)) == len(set().union(*contents)) == 50


def test_sizes_thin_out_each_split(root: Path) -> None:
    data = Folder(root=root, train_size=10, val_size=2, test_size=5).load(name="small")
    assert [len(images) for images in data.splits.values()] == [10, 2, 5]
    assert data.name == "small"
    assert sorted(data.train.targets) == [0] * 6 + [1] * 4
    assert any("train: 10 of 36 images used" in note for note in data.notes)


def test_a_size_beyond_what_there_is_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="train_size: must be at most the 36 images there are, found 37"):
        Folder(root=root, train_size=37).load()
