"""The application of `taskfold serve` in this process, and the output of `taskfold predict` for comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient

from .conftest import Run

TOKEN = "0123456789abcdef-secret"


@contextmanager
def served(run: Run, *arguments: object) -> Iterator[TestClient]:
    """A client of the command's application, once all tasks are there."""
    apps: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uvicorn.Server.run", lambda server, sockets: apps.append(server.config.app))
        patch.setenv("TASKFOLD_TOKEN", TOKEN)
        result = run("serve", *arguments, "--port", 0)
    assert result.exit_code == 0, result.output
    with TestClient(apps[0], base_url="http://localhost", headers={"authorization": f"Bearer {TOKEN}"}) as client:
        while not (found := client.get("/readyz").json())["ready"]:
            pass
        assert not found["problems"]
        yield client


def answers(response: Any) -> list[dict[str, Any]]:
    """Of a request that was answered."""
    assert response.status_code == 200, response.text
    return response.json()["answers"]


def holds(found: Any, wanted: Any) -> bool:
    """Whether an answer says all that another one does, numbers to rounding."""
    if isinstance(wanted, Mapping):
        return all(holds(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(holds, found, wanted))
    return found == (pytest.approx(wanted, rel=1e-4, abs=1e-5) if isinstance(wanted, float) else wanted)
