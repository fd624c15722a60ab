"""Collections in a folder, and on a local server with the Hub's HTTP API."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch import nn

import taskfold as tfold
from taskfold.hub import pull_task, push_task

hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")
errors = pytest.importorskip("huggingface_hub.errors")


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)).eval()


def model(*names: str, method: tfold.Method | None = None, seed: int = 0) -> tfold.MultiTask:
    made = tfold.MultiTask(network(seed), method or tfold.LoRA(2, init="normal"), num_features=4).eval()
    for name in names:
        made.add_task(name, head=2, labels=("no", "yes"))
    return made


class Server(BaseHTTPRequestHandler):
    """As much of the Hub as files in one repository need; commits are numbered."""

    files: dict[str, dict[str, bytes]]
    asked: list[str]

    def log_message(self, *_: object) -> None: ...

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        head = list(self.files)[-1] if self.files else None
        if head is None:
            return self.answer(404, X_Error_Code="RepoNotFound")
        if self.path.startswith("/api/models/me/tasks"):
            body = {"id": "me/tasks", "modelId": "me/tasks", "sha": head, "siblings": [], "private": False, "tags": []}
            return self.answer(200, json.dumps(body).encode(), Content_Type="application/json")
        commit, _, name = self.path.removeprefix("/me/tasks/resolve/").partition("/")
        data = self.files.get(head if commit == "main" else commit, {}).get(name)
        if data is None:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=head)
        return self.answer(200, data, ETag=f'"{hash(data)}"', X_Repo_Commit=head)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append(self.path)
        url = f"http://{self.headers['Host']}/me/tasks"
        found: dict[str, Any] = {"url": url}
        if "/preupload/" in self.path:
            sent = json.loads(body)["files"]
            found = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in sent]}
        elif "/commit/" in self.path:
            header, *lines = [json.loads(line) for line in body.splitlines()]
            head = list(self.files)[-1] if self.files else None
            if header["value"].get("parentCommit", head) != head:
                return self.answer(412, b'{"error": "A commit has happened since"}')
            files = dict(self.files[head]) if head else {}
            files |= {line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines}
            self.files[f"{len(self.files) + 1:040x}"] = files
            found = {"commitUrl": f"{url}/commit/1", "commitOid": list(self.files)[-1]}
        return self.answer(200, json.dumps(found).encode(), Content_Type="application/json")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    if "_endpoint" not in (field.name for field in fields(hub.CommitInfo)):
        pytest.skip(
            "this huggingface_hub reads addresses of its default endpoint alone; `taskfold[hub]` asks for a newer one"
        )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    Server.files, Server.asked = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    Thread(target=server.serve_forever, daemon=True).start()
    yield hub.HfApi(endpoint=f"http://127.0.0.1:{server.server_port}", token=False)
    server.shutdown()
    server.server_close()


def test_tasks_go_to_the_hub_and_come_back(api: Any) -> None:
    source = model("flowers", "cars")
    for name in source.tasks:
        push_task(source, name, "me/tasks", base_model="me/base", api=api)
    (files,) = [list(Server.files.values())[-1]]
    assert sorted(files) == ["README.md", "cars.safetensors", "flowers.safetensors", "taskfold.json"]
    assert sum(map(len, files.values())) < 20_000
    card = files["README.md"].decode()
    assert 'base_model: "me/base"' in card and "| cars | lora | 62 | 2 |" in card
    other = model()
    task = pull_task(other, "me/tasks", "cars", rename="mine", api=api)
    x = torch.randn(3, 6)
    assert torch.equal(other(x, task="mine"), source(x, task="cars"))
    assert task.info.labels == ("no", "yes")
    with pytest.raises(ValueError, match="me/tasks has 2 tasks; say which: cars, flowers"):
        pull_task(other, "me/tasks", api=api)
    with pytest.raises(ValueError, match="has no task 'boats'; its tasks: cars, flowers"):
        pull_task(other, "me/tasks", "boats", api=api)


def test_another_backbone_is_refused_before_anything_moves(api: Any) -> None:
    push_task(model("flowers"), "flowers", "me/tasks", api=api)
    Server.asked.clear()
    with pytest.raises(tfold.TaskFileError, match="me/tasks holds tasks of another backbone"):
        pull_task(model(seed=1), "me/tasks", "flowers", api=api)
    assert not [path for path in Server.asked if "safetensors" in path]
    with pytest.raises(tfold.TaskFileError, match="use a repository of its own"):
        push_task(model("cars", seed=1), "cars", "me/tasks", api=api)
    assert len(Server.files) == 1


def test_pushes_at_once_lose_nothing(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = model("flowers", "cars")
    push_task(source, "flowers", "me/tasks", api=api)
    create = api.create_repo

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        Server.files["f" * 40] = {**list(Server.files.values())[-1], "other": b"1"}
        return create(*args, **kwargs)

    monkeypatch.setattr(api, "create_repo", meanwhile)
    with pytest.raises(errors.HfHubHTTPError):
        push_task(source, "cars", "me/tasks", api=api)
    assert "other" in list(Server.files.values())[-1]


def test_a_folder_is_a_collection_too(tmp_path: Path) -> None:
    source = model("flowers", method=tfold.Poly(2, skills=2))
    assert push_task(source, "flowers", tmp_path / "tasks") == str(tmp_path / "tasks")
    other = model()
    pull_task(other, tmp_path / "tasks")
    x = torch.randn(3, 6)
    assert torch.equal(other(x, task="flowers"), source(x, task="flowers"))
    with pytest.raises(ValueError, match="has a task 'flowers' already; give replace=True"):
        push_task(source, "flowers", tmp_path / "tasks")
    push_task(source, "flowers", tmp_path / "tasks", replace=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "taskfold.json is damaged"),
        ("[]", "taskfold.json is damaged"),
        ('{"format": 9, "backbone": {}, "tasks": {}}', "has format 9, and this version reads 1; upgrade"),
        ('{"format": 1, "backbone": {}, "tasks": {}}', "does not say what its backbone and tasks are"),
        (
            '{"format": 1, "backbone": {"class": 0, "fingerprint": 0, "types": 0, "rounded": 0}, "tasks": {"a": 5}}',
            "taskfold.json is damaged",
        ),
        (None, "is no collection of tasks: it has no taskfold.json"),
    ],
)
def test_a_damaged_collection_is_refused(text: str | None, words: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "taskfold.json").write_text(text)
    with pytest.raises(tfold.TaskFileError, match=words):
        pull_task(model(), tmp_path, "flowers")


def test_another_tasks_file_in_a_tasks_place_is_refused(tmp_path: Path) -> None:
    push_task(source := model("flowers", "cars"), "flowers", tmp_path)
    push_task(source, "cars", tmp_path)
    (tmp_path / "flowers.safetensors").write_bytes((tmp_path / "cars.safetensors").read_bytes())
    with pytest.raises(tfold.TaskFileError, match="the file of task 'flowers' holds task 'cars'"):
        pull_task(model(), tmp_path, "flowers", rename="mine")


def test_where_it_lies_must_be_said() -> None:
    with pytest.raises(TypeError, match="repo must be 'owner/name' on the Hub, or a Path"):
        pull_task(model(), 5, "flowers")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'tasks' is not 'owner/name' on the Hub; a folder is given as Path"):
        push_task(model("flowers"), "flowers", "tasks")
    with pytest.raises(ValueError, match="is a folder, which has no revision"):
        pull_task(model(), Path("here"), "flowers", revision="main")
