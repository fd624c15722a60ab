"""What comes over a connection: heads and bodies of any kind, slow readers, many connections, a store that goes."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from taskfold.serve.web import Patient, _patience, application
from taskfold.tasks import Store
from taskfold.threads import cores

from .colours import MANAGER, image, server, task_file

RED = image("red")
HOST, LENGTH = b"host: localhost\r\n", b"content-length: %d\r\n" % len(RED)
PREDICT = b"POST /predict?task=cars HTTP/1.1\r\n" + HOST
CHUNKED = b"transfer-encoding: chunked\r\n"
CHUNKS = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (RED[:7], RED[7:])) + b"0\r\n\r\n"


@contextmanager
def live(folder: Path, http: type[Patient] = Patient) -> Iterator[int]:
    """The port of a server of the task `cars`."""
    serving = server()
    serving.load("cars", task_file(folder, "cars", "cars "))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        running = uvicorn.Server(uvicorn.Config(application(serving), log_config=None, http=http))
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        while not (running.started and serving.ready):
            time.sleep(0.01)
        try:
            yield listening.getsockname()[1]
        finally:
            running.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with live(tmp_path_factory.mktemp("wire")) as found:
        yield found


def replies(port: int, sent: bytes, count: int = 1) -> list[tuple[int, Any]]:
    """The statuses and the JSON of so many replies to what was sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(sent)
        reader, found = line.makefile("rb"), []
        for _ in range(count):
            status = int(reader.readline().split()[1])
            lines = iter(reader.readline, b"\r\n")
            headers = dict(one.decode().lower().strip().split(": ", 1) for one in lines)
            found.append((status, json.loads(reader.read(int(headers["content-length"])))))
        return found


@pytest.mark.parametrize(
    "sent",
    [
        PREDICT + LENGTH + b"\r\n" + RED,
        PREDICT + LENGTH + LENGTH + b"\r\n" + RED,
        PREDICT + CHUNKED + b"\r\n" + CHUNKS,
        PREDICT + b"content-encoding: identity\r\n" + LENGTH + b"\r\n" + RED,
    ],
    ids=["length", "length twice", "chunks", "identity"],
)
def test_a_body_comes_with_its_length_or_in_chunks(port: int, sent: bytes) -> None:
    [(status, said)] = replies(port, sent)
    assert (status, said["answers"][0]["label"]) == (200, "cars red")


def test_requests_on_one_connection_are_answered_in_their_order(port: int) -> None:
    good, other = PREDICT + LENGTH + b"\r\n" + RED, PREDICT.replace(b"cars", b"carz") + LENGTH + b"\r\n" + RED
    assert [status for status, _ in replies(port, good + other + good, 3)] == [200, 404, 200]


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (PREDICT + LENGTH + CHUNKED + b"\r\n" + CHUNKS, 400, "both content-length and transfer-encoding"),
        (PREDICT + LENGTH + b"content-length: 3\r\n\r\n" + RED, 400, "no HTTP request"),
        (PREDICT + b"content-length: +3\r\n\r\nred", 400, "no HTTP request"),
        (PREDICT + CHUNKED + b"\r\nno number\r\n", 400, "no HTTP request"),
        (PREDICT + b"content-length: 20\r\n\r\n" + RED[:20], 400, "cannot be read as an image"),
        (PREDICT + b"\r\n", 400, "there is no image"),
        (PREDICT + b"content-encoding: gzip\r\n" + LENGTH + b"\r\n" + RED, 415, "without content-encoding 'gzip'"),
        (b"GET /tasks HTTP/1.1\r\n" + HOST + b"x: " + b"a" * 70_000, 400, "more than 64 kB"),
        (b"GET /tasks HTTP/1.1\r\n\r\n", 400, "no HTTP request"),
        (b"GET /tasks HTTP/1.1\r\nhost: evil\r\n\r\n", 400, "host 'evil' is not this server's name"),
        (b"GET /tasks/cars%2Fversions HTTP/1.1\r\n" + HOST + b"\r\n", 400, "the path has %2F"),
        (b"GET /tasks/cars/ HTTP/1.1\r\n" + HOST + b"\r\n", 404, "there is nothing at '/tasks/cars/'"),
        (b"OPTIONS /tasks HTTP/1.1\r\n" + HOST + b"\r\n", 405, "OPTIONS is not for '/tasks'"),
        (b"GET /tasks/cafe%CC%81 HTTP/1.1\r\n" + HOST + b"\r\n", 404, "task 'café' is not served here"),
    ],
)
def test_what_breaks_a_rule_is_refused_in_a_sentence(port: int, sent: bytes, status: int, words: str) -> None:
    [(found, said)] = replies(port, sent)
    assert (found, words in said["error"]) == (status, True), said


def test_answers_do_not_wait_for_acknowledgements_of_their_heads(tmp_path: Path) -> None:
    found: list[int] = []

    class Noted(Patient):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            sock = transport.get_extra_info("socket")
            found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    with live(tmp_path, Noted) as port:
        replies(port, PREDICT + LENGTH + b"\r\n" + RED)
    assert found
    assert all(found)


def test_answers_do_not_queue_behind_other_requests_that_are_decoded() -> None:
    async def asked() -> str:
        go = threading.Event()
        async with asyncio.timeout(10), server() as serving:
            decoding = [asyncio.create_task(serving.decoding(go.wait)) for _ in range(cores() + 1)]
            await asyncio.sleep(0)
            try:
                return await serving.wording(lambda: "worded")
            finally:
                go.set()
                await asyncio.gather(*decoding)

    assert asyncio.run(asked()) == "worded"


def test_a_client_that_reads_nothing_loses_its_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_patience, "SECONDS", 0.3)
    page = b"GET /page.js HTTP/1.1\r\n" + HOST + b"\r\n"
    with live(tmp_path) as port, socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", port))
        line.settimeout(10)
        with pytest.raises(ConnectionError):  # and no TimeoutError, after 10 s in which nobody reads
            line.sendall(page * 100_000)


def test_one_connection_too_many_is_told_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_patience, "CONNECTIONS", 1)
    with live(tmp_path) as port, socket.create_connection(("127.0.0.1", port)) as first:
        first.sendall(b"GET /")
        [(status, said)] = replies(port, b"GET /tasks HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (status, "takes no more; ask again" in said["error"]) == (503, True)


class TestStore:
    def test_a_store_that_is_gone_is_not_a_store_without_tasks(
        self, client: TestClient, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
    ) -> None:
        away = tmp_path_factory.mktemp("away") / "store"
        tmp_path.rename(away)
        for method, path in (
            ("POST", "/predict?task=cars"),
            ("GET", "/tasks/cars"),
            ("GET", "/tasks/cars/versions"),
            ("PUT", "/tasks/cars"),
            ("DELETE", "/tasks/cars"),
            ("POST", "/tasks/cars/rollback"),
        ):
            found = client.request(method, path, content=RED, headers=MANAGER)
            assert (found.status_code, "its folder is gone" in found.json()["error"]) == (503, True), (method, path)
        away.rename(tmp_path)
        assert client.post("/predict?task=cars", content=RED).json()["answers"][0]["label"] == "cars red"

    def test_a_full_disk_refuses_a_change_and_the_tasks_stay(
        self, client: TestClient, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(self: Store, *arguments: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", f"{self.folder}/cars")

        monkeypatch.setattr(Store, "publish", full)
        monkeypatch.setattr(Store, "rename", full)
        for found in (
            client.put("/tasks/cars", content=files["birds"], headers=MANAGER),
            client.post("/tasks/cars/rename", json={"name": "carts"}, headers=MANAGER),
        ):
            assert found.status_code == 507
            assert found.json()["error"].startswith("the disk refuses this change: No space left on device;")
        assert client.post("/predict?task=cars", content=RED).json()["answers"][0]["label"] == "cars red"

    def test_what_is_no_file_is_no_task(self, client: TestClient, tmp_path: Path) -> None:
        (tmp_path / "folder.safetensors").mkdir()
        assert client.post("/predict?task=folder", content=RED).status_code == 404

    def test_refusals_keep_the_stores_place_to_themselves(
        self, client: TestClient, tmp_path: Path, files: dict[str, bytes]
    ) -> None:
        client.put("/tasks/old", content=files["cars"], headers=MANAGER)
        client.delete("/tasks/old", headers=MANAGER)
        taken = client.post("/tasks/cars/rename", json={"name": "old"}, headers=MANAGER)
        assert (taken.status_code, "the store/old holds versions" in taken.text) == (422, True), taken.text
        assert client.post("/tasks/carz/rollback", headers=MANAGER).status_code == 404
