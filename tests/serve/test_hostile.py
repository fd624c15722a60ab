"""A few hundred answers of the campaign with hostile clients; heads of requests that never end."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvicorn

from taskfold.serve.web import Patient, _patience, application

from .colours import server
from .hostile import campaign


def test_hostile_clients_get_no_wrong_answer_and_harm_nobody() -> None:
    counts, problems = asyncio.run(campaign(100, 30, clients=8, names=6))
    assert not problems, problems[:3]
    assert counts["answers"] > 20
    assert counts["evicted"]
    assert counts["asked in protocol v2"] > 5
    assert not counts["leases left"]
    assert not counts["rows left"]


def test_a_head_that_never_ends_is_closed_and_a_slow_answer_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_patience, "SECONDS", 0.3)

    async def run() -> None:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            running = uvicorn.Server(uvicorn.Config(application(server()), log_config=None, http=Patient))
            task = asyncio.create_task(running.serve([listening]))
            while not running.started:
                await asyncio.sleep(0.01)
            for head in (b"", b"GET /healthz HTTP/1.1\r\nhost:"):
                reader, writer = await asyncio.open_connection(*listening.getsockname())
                writer.write(head)
                async with asyncio.timeout(20):
                    assert await reader.read() == b""
                writer.close()
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            for _ in range(2):  # both of one connection
                writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
                assert b"200 OK" in await reader.readuntil(b"}")
            writer.close()
            running.should_exit = True
            await task

    asyncio.run(run())
