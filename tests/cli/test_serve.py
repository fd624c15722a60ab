"""`taskfold serve` as a process: it answers for the tasks in a run's folder, and its changes outlive it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from taskfold import FTN, MultiTask
from taskfold.backbones import load
from taskfold.data import Preprocessing

from . import project, texts
from .conftest import Run

TOKEN = "0123456789abcdef-secret"


def write(folder: Path, *names: str) -> Path:
    """A backbone in Python, and task files in `folder/runs/tasks`, whose classes stand for nothing."""
    (folder / "net.py").write_text(project.BACKBONE)
    model = MultiTask(load(f"{folder}/net.py:build").network, FTN(rank=1)).eval()
    tasks = folder / "runs" / "tasks"
    tasks.mkdir(parents=True)
    for n, name in enumerate(names):
        said = Preprocessing(size=8).model_dump(mode="json")
        torch.manual_seed(n)
        model.add_task(name, head=3, labels=[f"{name}-{k}" for k in "abc"], preprocessing=said)
        model.save_task(name, tasks / f"{name}.safetensors")
    return folder / "runs"


class Client:
    """Requests to a server."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"

    def __call__(self, path: str, data: bytes | None = None, method: str | None = None) -> Any:
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/octet-stream"}
        asked = urllib.request.Request(self.base + path, data, headers, method=method)
        with urllib.request.urlopen(asked, timeout=30) as response:
            return json.loads(response.read())


@contextmanager
def serving(
    *arguments: object, start: Sequence[str] = (sys.executable, "-m", "taskfold")
) -> Iterator[tuple[Client, subprocess.Popen[bytes]]]:
    """A process that serves; it is killed in the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*start, "serve", *map(str, arguments), "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, "TASKFOLD_TOKEN": TOKEN})
    try:
        client = Client(port)
        _until(process, lambda: client("/readyz")["ready"])
        yield client, process
    finally:
        process.kill()
        process.wait()


def _until(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        try:
            if ready():
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        assert process.poll() is None, "the server ended"
        time.sleep(0.1)
    raise AssertionError("the server is not ready after 300 s")


@pytest.mark.slow
def test_a_run_is_served_and_what_was_put_survives_a_kill(tmp_path: Path, run: Run) -> None:
    runs = write(tmp_path, "warm", "cold")
    backbone = ["--backbone", f"{tmp_path}/net.py:build"]
    image = tmp_path / "image.png"
    project.square(image, (220, 40, 40), 1)
    files = [runs / "tasks" / f"{name}.safetensors" for name in ("warm", "cold")]
    wanted = json.loads(run("predict", *files, image, *backbone, "--json").stdout)["predictions"]
    with serving(runs, *backbone) as (client, process):
        found = client("/predict?task=warm&task=cold", image.read_bytes())["answers"]
        for said, one in zip(found, wanted, strict=True):
            assert (said["task"], said["label"]) == (one["task"], one["label"])
            assert said["probability"] == pytest.approx(one["probability"], abs=1e-5)
        client("/tasks/new", files[0].read_bytes(), "PUT")
        process.send_signal(signal.SIGKILL)
    kept = json.loads(run("inspect", runs / "tasks" / "new.safetensors", "--json").stdout)
    assert json.dumps(kept).count('"new"')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "is no folder and no task file"),
        (["."], "has no tasks and no run.json"),
        ([".", "x.safetensors"], "give one folder, or task files"),
    ],
)
def test_misuse_is_said(
    arguments: list[str], message: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("serve", *arguments, "--port", 0)
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(tmp_path: Path, run: Run) -> None:
    runs = write(tmp_path, "warm")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("serve", runs, "--backbone", "no:such", "--port", port)
    assert result.exit_code == 1
    assert f"cannot listen at 127.0.0.1, port {port}: Address already in use" in result.stderr


def test_a_token_that_is_too_short_is_refused(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = write(tmp_path, "warm")
    monkeypatch.setenv("TASKFOLD_TOKEN", "short")
    result = run("serve", runs, "--backbone", f"{tmp_path}/net.py:build")
    assert result.exit_code == 1
    assert "at least 16" in result.stderr


def test_readings_say_what_predict_says_of_a_big_image(tmp_path: Path) -> None:
    from taskfold.cli._tasks import reading_of
    from taskfold.serve import Asked, Stacked

    runs = write(tmp_path, "warm")
    loaded = load(f"{tmp_path}/net.py:build")
    model = MultiTask(loaded.network).eval()
    task = model.load_task(runs / "tasks" / "warm.safetensors")
    reading = reading_of(task, loaded)
    ready = reading.ready(Image.new("RGB", (50, 30), "red"), Asked())
    assert ready.group == Stacked((3, 8, 8), torch.float32)
    said = reading.said(torch.tensor([0.0, 2.0, 1.0]), ready, Asked(top=2))
    assert [one["label"] for one in said["probabilities"]] == ["warm-b", "warm-c"]
    assert said["label"] == "warm-b"


def test_texts_are_written_and_ranked_in_a_bank(tmp_path: Path) -> None:
    from taskfold import LoRA
    from taskfold.cli._tasks import reading_of
    from taskfold.serve import Asked, Engine

    (tmp_path / "t5.py").write_text(texts.BACKBONE)
    loaded = load(f"{tmp_path}/t5.py:build")
    model = MultiTask(loaded.network, LoRA(rank=1)).eval()
    said = {"kind": "texts", "prompt": "{text}", "max_target": 4}
    engine = Engine(model)
    assert engine.bank is not None
    tasks = {name: model.add_task(name, preprocessing=said) for name in ("a", "b")}
    for name, task in tasks.items():
        engine.bank.add(task, f"g-{name}")
    for asked in (Asked(), Asked(choices=("yes", "no"))):
        readings = [reading_of(task, loaded) for task in tasks.values()]
        ready = [reading.ready("abc", asked) for reading in readings]
        assert ready[0].group == ready[1].group
        outputs = engine.run(ready[0].group, [(f"g-{name}", one.value) for name, one in zip(tasks, ready, strict=True)])
        answers = [
            reading.said(output, one, asked) for reading, output, one in zip(readings, outputs, ready, strict=True)
        ]
        if asked.choices:
            assert {one["answer"] for one in answers} <= {"yes", "no"}
            assert len(answers[0]["choices"]) == 2
        else:
            assert all(isinstance(one["answer"], str) for one in answers)
