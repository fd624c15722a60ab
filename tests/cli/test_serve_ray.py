"""`taskfold serve --ray`: replicas in separate processes give equal answers from one folder, while tasks change."""

from __future__ import annotations

import signal
import sys
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from . import project
from .conftest import Run
from .test_serve import Client, serving, write

RAY = """
import sys, ray
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80_000_000, log_to_driver=False)
from taskfold.cli import app
app(sys.argv[1:])
"""


def answered(client: Client, path: str, data: bytes) -> tuple[int, Any]:
    """Status, and the answer or what a refusal says of time."""
    try:
        return 200, client(path, data)["answers"]
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("retry-after")


@pytest.mark.slow
def test_two_replicas_answer_alike_while_tasks_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    for name, value in ("worker_niceness", "0"), ("SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60"):
        monkeypatch.setenv(f"RAY_{name}", value)  # the machine may do other things too
    runs = write(tmp_path, "warm", "cold")
    files = [(runs / "tasks" / f"{name}.safetensors").read_bytes() for name in ("warm", "cold")]
    project.square(tmp_path / "image.png", (220, 40, 40), 1)
    image = (tmp_path / "image.png").read_bytes()
    arguments = ["--backbone", f"{tmp_path}/net.py:build", "--ray", "2", "--batch-size", "2", "--waiting", "16"]
    with serving(runs, *arguments, start=[sys.executable, "-c", RAY]) as (client, ray), ThreadPoolExecutor(4) as four:

        def ask(count: int, tasks: str) -> list[tuple[int, Any]]:
            return list(four.map(lambda _: answered(client, f"/predict?task={tasks}", image), range(count)))

        def rows() -> set[int]:
            """That each replica has answered."""
            return {client("/stats")["rows"] for _ in range(20)}

        until = time.monotonic() + 120
        while len(before := rows()) < 2:
            assert time.monotonic() < until, "one replica answers all"
            ask(5, "warm")
        for turn in range(6):
            put = client("/tasks/moving", files[turn % 2], "PUT")
            for status, found in ask(8, "moving&task=warm"):
                assert (status, found[0]["digest"]) == (200, put["digest"])
                assert found[1]["task"] == "warm"
        client("/tasks/moving", method="DELETE")
        assert {status for status, _ in ask(8, "moving")} == {404}
        after = rows()
        assert sum(after) - sum(before) == 6 * 8 * 2
        assert not before & after, "one replica answered all"
        with ThreadPoolExecutor(64) as many:
            found = list(many.map(lambda _: answered(client, "/predict?task=warm", image), range(128)))
        assert {status for status, _ in found} == {200, 503}
        assert {int(said) > 0 for status, said in found if status == 503} == {True}
        assert ask(1, "warm")[0][0] == 200
        ray.send_signal(signal.SIGINT)
        ray.wait(60)


def test_what_replicas_cannot_share_is_refused(tmp_path: Path, run: Run) -> None:
    runs = write(tmp_path, "warm")
    for arguments, message in (
        ([runs / "tasks" / "warm.safetensors", "--ray", "2"], "--ray: replicas share the folder"),
        ([runs, "--ray", "two"], "--ray must be a number of replicas, or two such as 1-8, found 'two'"),
        ([runs, "--gpus", "1"], "--gpus is for the replicas of --ray"),
        ([runs, "--threads", "auto"], "--threads auto measures trainings, and a server has none; give a number"),
    ):
        result = run("serve", *arguments, "--backbone", f"{tmp_path}/net.py:build")
        assert (result.exit_code, message in result.stderr) == (1, True), result.stderr


@pytest.mark.filterwarnings("ignore")  # Ray's own, of pydantic
def test_numbers_that_cannot_be_are_refused() -> None:
    pytest.importorskip("ray")
    from taskfold.serve.replicas import deployed

    for settings, message in (
        ({"replicas": 0}, "replicas must be at least 1"),
        ({"replicas": (3, 2)}, "the fewest before the most"),
        ({"ongoing": 0}, "ongoing must be at least 1, found 0"),
    ):
        with pytest.raises(ValueError, match=message):
            deployed(lambda: None, **settings)  # type: ignore[arg-type]
