"""A store whose folder can only be read is served; changes are refused."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from taskfold.serve import DiskError
from taskfold.tasks import Store

from .colours import server, task_file


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of one task. Nothing can be made in its folder, which is so for the superuser too."""
    folder, mkdir = tmp_path / "tasks", Path.mkdir
    folder.mkdir()
    task_file(folder, "cars", "")

    def refused(path: Path, *arguments: Any, **settings: Any) -> None:
        if folder in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        mkdir(path, *arguments, **settings)

    monkeypatch.setattr(Path, "mkdir", refused)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK or Path(path) != folder)
    return Store(folder)


def test_tasks_are_served_from_a_folder_that_can_only_be_read(store: Store) -> None:
    async def served() -> list[str]:
        async with server(store=store) as found:
            await found.follow()
            return [*found.versions, *found.problems]

    assert asyncio.run(served()) == ["cars"]


def test_a_change_is_refused_in_a_folder_that_can_only_be_read_and_the_tasks_stay(store: Store, tmp_path: Path) -> None:
    data = task_file(tmp_path, "birds", "").read_bytes()

    async def served() -> list[str]:
        async with server(store=store) as found:
            await found.follow()
            with pytest.raises(DiskError, match="the disk refuses this change: Permission denied"):
                await found.put("birds", data)
            return list(found.versions)

    assert asyncio.run(served()) == ["cars"]
