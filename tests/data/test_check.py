from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taskfold.data import (
    ArrayImages,
    DataError,
    ImageSet,
    TaskData,
    check,
    check_names,
    parse_source,
    sound,
    unreadable,
)

LABELS = ("cat", "dog", "owl")
SEEDS = itertools.count()


def images(targets: list[int]) -> ImageSet:
    pixels = np.random.default_rng(next(SEEDS)).integers(0, 256, (len(targets), 4, 4), np.uint8)
    return ImageSet(targets, ArrayImages(pixels), [f"image {i}" for i in range(len(targets))])


GOOD = TaskData("pets", LABELS, images([0, 1, 2, 0]), images([0, 1]), images([1, 2]))


def test_good_data_has_no_problems() -> None:
    assert check(GOOD, read_images=True) == []
    assert [data.name for data in sound([GOOD, replace(GOOD, name="more pets")])] == ["pets", "more pets"]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            {"labels": ("cat",), "train": images([0]), "val": images([0]), "test": images([0])},
            "one class",
            "found only 'cat'",
        ),
        ({"labels": ("cat", "dog", "cat")}, "duplicate label", "cat"),
        ({"train": images([])}, "no images", "the train split has no images"),
        ({"val": images([])}, "no images", "the val split has no images"),
        ({"test": images([])}, "no images", "the test split has no images"),
        ({"test": images([0, 3])}, "target out of range", "test targets must be 0 to 2.*image 1 has 3"),
        ({"train": images([0, 1, 2, -1])}, "target out of range", "image 3 has -1"),
        ({"labels": (*LABELS, "ox")}, "empty class", "without any image: ox"),
        ({"train": images([0, 1])}, "class not in train", "without a training image: owl"),
    ],
)
def test_every_failure_has_a_name_and_a_remedy(change: dict[str, Any], kind: str, message: str) -> None:
    wrong = replace(GOOD, **change)
    assert [problem.kind for problem in check(wrong)] == [kind]
    with pytest.raises(DataError, match=f"task 'pets': .*{message}"):
        sound([wrong])


def test_a_benchmark_may_have_classes_without_images() -> None:
    painting = replace(GOOD, train=images([0, 1]), fixed_labels=True)
    assert [problem.fatal for problem in check(painting)] == [False]
    (kept,) = sound([painting])
    assert "owl" in kept.notes[-1]


def test_task_names_are_used_once() -> None:
    assert [problem.task for problem in check_names([GOOD, GOOD, replace(GOOD, name="x")])] == ["pets"]
    with pytest.raises(DataError, match="task 'pets': the name is used by 2 tasks"):
        sound([GOOD, GOOD])


def test_all_problems_of_all_tasks_are_told_at_once() -> None:
    with pytest.raises(DataError) as caught:
        sound([replace(GOOD, val=images([])), replace(GOOD, name="b", test=images([9]))])
    assert len(str(caught.value).splitlines()) == 2


@pytest.fixture
def damaged(tmp_path: Path, tree: Any) -> TaskData:
    root = tree(tmp_path / "pets", [f"{split}/{label}:8" for split in ("train", "val", "test") for label in LABELS])
    for name in ("train/cat/3.png", "train/owl/0.png", "test/dog/7.png"):
        (root / name).write_bytes((root / name).read_bytes()[:60])
    return parse_source({"kind": "folder", "root": root}).load()


def test_unreadable_images_are_named_and_counted(damaged: TaskData) -> None:
    assert [item.name for item in unreadable(damaged.train)] == ["train/cat/3.png", "train/owl/0.png"]
    with pytest.raises(DataError, match=r"2 train images cannot be read[\s\S]*cat/3\.png[\s\S]*1 test images"):
        sound([damaged])


def test_skipping_leaves_them_out_and_says_so(damaged: TaskData) -> None:
    (kept,) = sound([damaged], corrupt="skip")
    assert {split: len(images) for split, images in kept.splits.items()} == {
        "train": 22,
        "val": 24,
        "test": 23,
    }
    assert kept.notes == (
        "2 unreadable train images skipped: train/cat/3.png, train/owl/0.png",
        "1 unreadable test images skipped: test/dog/7.png",
    )
    assert not set(kept.train.names) & {"train/cat/3.png", "train/owl/0.png"}


def test_trusting_does_not_look(damaged: TaskData) -> None:
    (same,) = sound([damaged], corrupt="trust")
    assert len(same.train) == 24


def test_a_file_that_vanished_is_a_problem(damaged: TaskData) -> None:
    Path(damaged.val.read.paths[0]).unlink()  # type: ignore[attr-defined]
    assert any("no image at" in problem.message for problem in check(damaged, read_images=True))


def test_a_long_list_is_cut_short(tmp_path: Path, tree: Any) -> None:
    root = tree(tmp_path / "pets", ["train/cat:9", "train/dog:9", "test/cat:1", "val/dog:1"])
    for path in (root / "train/cat").iterdir():
        path.write_bytes(b"")
    data = parse_source({"kind": "folder", "root": root}).load()
    (problem,) = (p for p in check(data, read_images=True) if p.kind == "unreadable images")
    assert problem.message.startswith("9 train images")
    assert problem.message.count("cannot be read as an image") == 5
    assert problem.message.endswith("and 4 more")


def test_copies_in_two_classes_and_in_two_splits_are_said(tmp_path: Path, tree: Any) -> None:
    places = [f"{split}/{label}:3" for split in ("train", "val", "test") for label in ("cat", "dog")]
    root = tree(tmp_path, places)
    assert check(parse_source({"kind": "folder", "root": root}).load(), read_images=True) == []
    shutil.copy(root / "train/cat/0.png", root / "train/dog/copy.png")
    shutil.copy(root / "train/cat/1.png", root / "test/cat/again.png")
    data = sound([parse_source({"kind": "folder", "root": root}).load()])[0]
    assert data.notes[0].startswith(
        "1 images have a copy of another class: train/cat/0.png (cat) and train/dog/copy.png (d"
    )
    assert data.notes[1].startswith("1 images are in train and in test: train/cat/1.png = test/cat/again.png: what is")
