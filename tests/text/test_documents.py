"""Texts with labels from files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from taskfold.problems import Classification, TokenClassification
from taskfold.text.documents import Documents
from taskfold.text.words import Words


def test_texts_in_two_parts_and_texts_with_two_labels_are_said(tmp_path: Path) -> None:
    lines = [f"text {n},{'ab'[n % 2]}" for n in range(9)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *lines, "text 8,b"]))
    (tmp_path / "test.csv").write_text("\n".join(["text,label", lines[0], f"{lines[1]}", "a new one,a"]))
    given = {part: tmp_path / f"{part}.csv" for part in ("train", "test")}
    found = Documents(**given).load("one", Classification(), seed=3)
    (*_, leak, odd) = found.notes
    assert leak.startswith(
        "2 texts are in train and in test: 'text 0', 'text 1'; what is measured there was learnt here"
    )
    assert odd == "1 texts are there with different labels: 'text 8'; keep the right one"


@pytest.mark.parametrize("seed", range(5))
def test_each_part_has_its_share_of_every_class(tmp_path: Path, seed: int) -> None:
    file = tmp_path / "texts.csv"
    file.write_text("\n".join(["text,label", *(f"text {n},{'abc'[(n % 10 > 5) + (n % 10 > 8)]}" for n in range(100))]))
    found = Documents(file=file).load("one", Classification(), seed=seed)
    parts = [Counter(one.label for one in part) for part in (found.train, found.val, found.test)]
    assert parts == [{"a": 43, "b": 22, "c": 7}, {"a": 5, "b": 2, "c": 1}, {"a": 12, "b": 6, "c": 2}]
    assert found.notes[0] == f"test: 20 of 100 texts set aside, by class, seed {seed}"


def test_lines_where_documents_begin_are_no_texts(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(
        "-DOCSTART- -X- O\n\nAnn N B-PER\nsleeps V O\n\n-DOCSTART- -X- O\n\nBob N B-PER\n"
    )
    found = Words(file=tmp_path / "a.conll").load("one", TokenClassification(), whole=True)
    assert [one.words for one in found.test] == [("Ann", "sleeps"), ("Bob",)]
