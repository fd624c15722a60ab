from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskfold.data import DataError, MissingDataError
from taskfold.data.sources import CsvFile


@pytest.fixture
def write(tmp_path: Path, paint: Any) -> Any:
    """Write the list; paint the images it names unless told otherwise."""

    def file(text: str, images: bool = True, encoding: str = "utf-8") -> Path:
        path = tmp_path / "pets.csv"
        path.write_text(text, encoding=encoding)
        for line in text.splitlines()[1:] if images else ():
            paint(tmp_path / line.split(",")[0].strip())
        return path

    return file


def lines(header: str, *rows: str) -> str:
    return "\n".join((header, *rows)) + "\n"


def test_a_list_without_splits_is_split(write: Any) -> None:
    rows = [f"img/{label}{n}.png,{label}" for label in ("cat", "dog") for n in range(10)]
    data = CsvFile(file=write(lines("path,label", *rows))).load()
    assert (data.name, data.labels) == ("pets", ("cat", "dog"))
    assert [len(images) for images in data.splits.values()] == [14, 2, 4]
    assert data.train.read(0).size == (8, 8)
    assert data.train.names[0].startswith("img/cat")


def test_splits_in_the_list_are_kept(write: Any) -> None:
    rows = [
        f"{split}{n}.png,{n % 2},{split}"
        for split, size in (("train", 4), ("val", 2), ("test", 3))
        for n in range(size)
    ]
    data = CsvFile(file=write(lines("path,label,split", *rows))).load()
    assert [images.names for images in data.splits.values()][2] == ["test0.png", "test1.png", "test2.png"]
    assert [len(images) for images in data.splits.values()] == [4, 2, 3]


def test_numbers_sort_as_numbers_and_spreadsheets_may_mark_utf8(write: Any) -> None:
    rows = [f"{n}_{copy}.png, {n}" for n in (10, 9, 2) for copy in range(3)]
    assert CsvFile(file=write(lines("path,label", *rows), encoding="utf-8-sig")).load().labels == (
        "2",
        "9",
        "10",
    )


def test_the_order_of_equal_numbers_does_not_hang_on_the_process(write: Any) -> None:
    names = ("01", "1", "001", "-3", "2", "02")
    rows = [f"{name}_{copy}.png,{name}" for name in names for copy in range(3)]
    found = CsvFile(file=write(lines("path,label", *rows))).load().labels
    assert found == ("-3", "001", "01", "1", "02", "2")


def test_labels_fix_the_order(write: Any) -> None:
    rows = [f"{label}{n}.png,{label}" for label in ("cat", "dog") for n in range(3)]
    data = CsvFile(file=write(lines("path,label", *rows)), labels=("dog", "cat")).load()
    assert data.test.targets == [1, 0]


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (lines("file,label", "a.png,cat"), {}, "must have a column 'path', found file, label"),
        (lines("path,label", "a.png,"), {}, "line 2: label must be a label that is not empty"),
        (lines("path,label", "a.png,cat", "b.png"), {}, r"line 3: must have 2 values \(path, label\), found 1"),
        (
            lines("path,label,split", "a.png,cat,training"),
            {},
            "line 2: split must be train, val or test, found 'training'",
        ),
        (lines("path,label,split", "a.png,cat,"), {}, "split must be train, val or test, found ''"),
        (
            lines("path,label", "a.png,cat", "./a.png,dog"),
            {},
            r"\./a\.png is listed, as a\.png, as \['cat', ''\] and as \['dog', ''\]",
        ),
        (
            lines("path,label", "a.png,cat", "a.png,dog"),
            {},
            r"a\.png is listed as \['cat', ''\] and as \['dog', ''\]",
        ),
        (
            lines("path,label,split", "a.png,cat,train", "a.png,cat,test"),
            {},
            r"'train'\] and as \['cat', 'test'\]",
        ),
        (
            lines("path,label", "a.png,cow"),
            {"labels": ("cat", "dog")},
            "has cow, not among the labels: cat, dog",
        ),
        (lines("path,label"), {}, "lists no images"),
        (lines("path,label,label", "a.png,cat,dog"), {}, "must have each column once, found 'label' twice"),
        (lines("path,label", "a.png,cat", 'b.png,"dog', "c.png,cat"), {}, "line 3: cannot be read: unexpected end"),
        (lines("path,label", "a.png,caf\u00e9", "b.png,cafe\u0301"), {}, "composed of other characters in some places"),
    ],
)
def test_a_strange_list_is_refused(write: Any, text: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        CsvFile(file=write(text), **settings).load()


def test_images_that_do_not_exist_are_counted(write: Any) -> None:
    path = write(lines("path,label", *(f"{n}.png,cat" for n in range(7))), images=False)
    with pytest.raises(MissingDataError, match=r"7 of 7 images do not exist: 0\.png.*and 2 more; paths count from"):
        CsvFile(file=path).load()


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"file: no file .*none\.csv"):
        CsvFile(file=tmp_path / "none.csv").load()
