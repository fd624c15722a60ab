"""Configurations of a transfer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taskfold.config import ConfigError
from taskfold.config.run import Config, load_any, load_config
from taskfold.config.transfer import TransferConfig, load_transfer
from taskfold.plugins import SOURCES, registered

WHOLE = """
from: runs/words
train: {epochs: 3}
text: {num_beams: 2}
tasks:
  - {name: dutch, source: {kind: topics, texts: nl}, train: {seed: 4}}
  - {name: galician, source: {kind: examples, file: gl.csv}}
output: runs/few
"""


def write(folder: Path, text: str) -> Path:
    (folder / "t.yaml").write_text(text)
    return folder / "t.yaml"


def test_what_it_comes_to(tmp_path: Path) -> None:
    found = load_transfer(write(tmp_path, WHOLE))
    assert (found.mode, found.begin, found.shots, found.seed, found.method) == ("z", "mean", None, 0, {})
    assert (found.origin, found.output) == (tmp_path / "runs" / "words", tmp_path / "runs" / "few")
    dutch, galician = found.tasks
    assert (dutch.train.epochs, dutch.train.seed, galician.train.seed) == (3, 4, 0)
    assert (dutch.text.num_beams, galician.text.num_beams) == (2, 2)
    assert galician.source.file == tmp_path / "gl.csv"  # type: ignore[union-attr]
    assert isinstance(load_any(tmp_path / "t.yaml"), TransferConfig)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("from: runs/words", ""), "from: is missing"),
        (("from: runs/words", "form: runs/words"), "form: key is not known; did you mean from?"),
        (("from: runs/words", "origin: runs/words"), "origin: key is not known (known: begin, corrupt, dense, from,"),
        (("output:", "mode: zz\noutput:"), "mode: must be 'all', 'mu' or 'z', found 'zz'"),
        (("output:", "begin: end\noutput:"), "begin: must be 'mean' or 'even', found 'end'"),
        (("output:", "shots: 0\noutput:"), "shots: must be > 0, found 0"),
        (("output:", "seed: -1\noutput:"), "seed: must be ≥ 0, found -1"),
        (("output:", "together: true\noutput:"), "together: key is not known"),
        (("output:", "backbone: b\noutput:"), "backbone: key is not known"),
        (("output:", "method: poly\noutput:"), "method: must be a mapping, found 'poly'"),
        (("epochs: 3", "epochs: 0"), "train.epochs: must be ≥ 1, found 0"),
        (("texts: nl", "txts: nl"), "tasks[0].source.texts: is missing"),
        (("name: galician", "name: dutch"), "tasks[1].name: tasks[0] has this name already"),
        (("kind: topics, texts: nl", "kind: packaged, name: mnist"), "tasks[0] (dutch) has images, tasks[1] (gal"),
    ],
)
def test_a_problem_is_said_once_where_it_stands(tmp_path: Path, changed: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_transfer(write(tmp_path, WHOLE.replace(*changed)))
    assert str(error.value).count(message) == 1


def test_the_other_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stands on another run \('from'\): use it with taskfold transfer"):
        load_config(write(tmp_path, WHOLE))


@pytest.mark.skipif("lemmas" not in registered(SOURCES), reason="an example has a source of taskfold-demos")
def test_the_documentations_examples_are_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    found = [load_any(write(tmp_path, text)) for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert [type(one) for one in found] == [Config, TransferConfig, Config]
