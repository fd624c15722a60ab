from __future__ import annotations

from pathlib import Path

import pytest

from .killed_commands import SMALL, campaign


@pytest.mark.parametrize("name", SMALL)
def test_a_killed_command_goes_on_to_the_same_end(name: str, tmp_path: Path) -> None:
    count, wrong = campaign(name, tmp_path, SMALL[name])
    assert wrong == []
    assert count >= 3
