from __future__ import annotations

from pathlib import Path

import yaml

from .mutated_configurations import DOCUMENTS, campaign, tried


def test_the_configurations_are_good_before_they_are_mutated(tmp_path: Path) -> None:
    for document in DOCUMENTS:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(document))
        assert tried(path) == "read", document


def test_mutated_configurations_are_read_or_refused(tmp_path: Path) -> None:
    counts, wrong = campaign(40, 1, tmp_path)
    assert wrong == []
    assert counts["refused"] > 20
