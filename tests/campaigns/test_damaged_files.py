from __future__ import annotations

from pathlib import Path

from .damaged_files import campaign


def test_damaged_files_are_refused_by_their_name(tmp_path: Path) -> None:
    counts, wrong = campaign(60, 1, tmp_path)
    assert wrong == []
    assert counts["refused"] > 10
