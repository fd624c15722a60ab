"""A server of two tasks, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from taskfold.serve.web import Access, application
from taskfold.tasks import Store

from .colours import LIMITS, TOKEN, server, task_file


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("files")
    made = {name: task_file(folder, name, f"{name} ") for name in ("cars", "birds")}
    made |= {"ranked": task_file(folder, "ranked", "", rank=64), "wide": task_file(folder, "wide", "", outputs=20)}
    return {name: path.read_bytes() for name, path in made.items()}


@pytest.fixture
def client(tmp_path: Path, files: dict[str, bytes]) -> Iterator[TestClient]:
    with asking(tmp_path, files) as found:
        yield found


@contextmanager
def asking(store: Path, files: dict[str, bytes]) -> Iterator[TestClient]:
    """A client of a server of `cars` and `birds`."""
    for name in ("cars", "birds"):
        (store / f"{name}.safetensors").write_bytes(files[name])
    app = application(server(store=Store(store), limits=LIMITS), Access(TOKEN))
    with TestClient(app, base_url="http://localhost") as found:
        while found.get("/readyz").status_code != 200:
            pass
        yield found
