from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from taskfold.data import DataError, MissingExtraError, UnreadableImageError, check, unreadable
from taskfold.data.sources import HuggingFace

IMAGES = [Image.fromarray(np.full((8, 8), 10 * n, np.uint8)) for n in range(20)]


@pytest.fixture
def datasets() -> Any:
    return pytest.importorskip("datasets")


def table(datasets: Any, labels: Any, names: list[str] | None = None, column: str = "label") -> Any:
    features = {"image": datasets.Image()}
    features[column] = (
        datasets.ClassLabel(names=names)
        if names
        else datasets.Value("string" if isinstance(labels[0], str) else "int64")
    )
    return datasets.Dataset.from_dict(
        {"image": IMAGES[: len(labels)], column: labels}, features=datasets.Features(features)
    )


def test_saved_splits_are_kept(datasets: Any, tmp_path: Path) -> None:
    splits = {"train": [0, 1] * 5, "validation": [0, 1], "test": [1, 0, 1]}
    datasets.DatasetDict({s: table(datasets, v, ["cat", "dog"]) for s, v in splits.items()}).save_to_disk(
        tmp_path / "pets"
    )
    data = HuggingFace(dataset=str(tmp_path / "pets")).load()
    assert (data.name, data.labels) == ("pets", ("cat", "dog"))
    assert [len(images) for images in data.splits.values()] == [10, 2, 3]
    assert data.test.targets == [1, 0, 1]
    assert data.test.read(2).getpixel((0, 0)) == (20, 20, 20)
    assert check(data, read_images=True) == []


def test_strings_become_labels_and_one_table_is_split(datasets: Any, tmp_path: Path) -> None:
    table(datasets, ["dog", "cat"] * 10, column="animal").save_to_disk(tmp_path / "pets")
    data = HuggingFace(dataset=str(tmp_path / "pets"), label="animal").load()
    assert data.labels == ("cat", "dog")
    assert [len(images) for images in data.splits.values()] == [14, 2, 4]


def test_unpublished_labels_are_left_out(datasets: Any, tmp_path: Path) -> None:
    splits = {"train": [0, 1] * 10, "test": [-1, -1]}
    datasets.DatasetDict({s: table(datasets, v, ["cat", "dog"]) for s, v in splits.items()}).save_to_disk(
        tmp_path / "pets"
    )
    data = HuggingFace(dataset=str(tmp_path / "pets")).load()
    assert len(data.test) == 4
    assert data.notes[0] == "test: left out, its labels are not published"


def test_a_folder_of_images_is_understood(
    datasets: Any, tmp_path: Path, tree: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "pets", ["train/cat:6", "train/dog:6", "test/cat:2", "test/dog:2"])
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    data = HuggingFace(dataset=str(root)).load()
    assert data.labels == ("cat", "dog")
    assert [len(images) for images in data.splits.values()] == [10, 2, 4]


def test_what_is_missing_is_named(datasets: Any, tmp_path: Path) -> None:
    table(datasets, ["dog", "cat"]).save_to_disk(tmp_path / "pets")
    with pytest.raises(DataError, match="no column 'species' in train, only image, label"):
        HuggingFace(dataset=str(tmp_path / "pets"), label="species").load()
    datasets.DatasetDict({"test": table(datasets, [0], ["a"])}).save_to_disk(tmp_path / "odd")
    with pytest.raises(DataError, match="must have a train split, found test"):
        HuggingFace(dataset=str(tmp_path / "odd")).load()


def test_a_bad_image_is_named_by_its_row(datasets: Any, tmp_path: Path) -> None:
    rows = {"image": [{"bytes": b"no image", "path": None}] * 6, "label": ["a", "b"] * 3}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "bad")
    data = HuggingFace(dataset=str(tmp_path / "bad")).load()
    assert len(unreadable(data.train)) == len(data.train)
    with pytest.raises(UnreadableImageError, match="column 'image'"):
        data.train.read(0)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install .taskfold\[datasets\]"):
        HuggingFace(dataset="cifar10").load()


def test_rows_without_a_label_are_refused(datasets: Any, tmp_path: Path) -> None:
    table(datasets, ["cat", None, "dog"]).save_to_disk(tmp_path / "pets")
    with pytest.raises(DataError, match="'label' must hold strings or whole numbers, found None"):
        HuggingFace(dataset=str(tmp_path / "pets")).load()
