"""HTTP clients, many of them broken, slow, greedy or gone, while tasks change: no answer may be another task's.

`python -m tests.serve.hostile --answers 100000` runs it long. The campaign checks every answer against the task's
versions, every refusal against the request, and counts a logged error as a problem.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
import socket
import sys
import tempfile
import time
import traceback
from collections import Counter
from typing import Any

import numpy as np
import uvicorn

from taskfold.serve.web import Access, Patient, application
from taskfold.tasks import Store

from .bodies import BAD, GOOD, LIMITS, ODD, broken_tasks
from .canaries import History, files, identity_of, main, megabytes, server
from .lines import Line

TOKEN = "0123456789abcdef-secret"
MANAGER = {"authorization": f"Bearer {TOKEN}"}


def as_answers(body: bytes) -> bytes:
    """What protocol v2 says, as `/predict` does, where numbers have single precision."""
    found = {one["name"]: one["data"] for one in json.loads(body)["outputs"]}
    identity = round(found["outputs"][0] / 1e6)
    exact = [1e12 * n + 1e6 * identity + identity for n in range(len(found["outputs"]))]
    assert found["outputs"] == [float(np.float32(one)) for one in exact], found
    one = {"task": found["task"][0], "generation": found["generation"][0], "outputs": exact}
    return json.dumps({"answers": [one]}).encode()


class Logged(logging.Handler):
    """What the server logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.said.append(f"{record.name}: {record.getMessage()} {type(error).__name__} {error}")


class Hostile:
    """The campaign.

    Args:
        port: of the server.
        canaries: by identity, from `files`.
        names, clients, changers: how many.
    """

    def __init__(self, port: int, canaries: dict[int, bytes], names: int, clients: int, changers: int) -> None:
        self.port, self.canaries, self.clients, self.changers = port, canaries, clients, changers
        self.names = [f"task{n}" for n in range(names)]
        self.history, self.counts, self.problems = History(), Counter[str](), list[str]()
        self.versions: dict[str, dict[str, int]] = {name: {} for name in self.names}
        self.broken = broken_tasks(next(iter(canaries.values())))
        self.memory: list[int] = []
        self.over = False

    async def run(self, answers: int, seconds: float) -> None:
        """Until there are so many answers, or so many seconds have passed."""
        until = time.monotonic() + seconds
        changing = [asyncio.create_task(self._guarded(self._changes(n))) for n in range(self.changers)]
        asking = [self._guarded(self._asks(n, answers // self.clients, until)) for n in range(self.clients)]
        await asyncio.gather(*asking)
        self.over = True
        await asyncio.gather(*changing)

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except Exception as error:
            mine = [at for at in traceback.extract_tb(error.__traceback__) if at.filename == __file__]
            self._problem(f"{type(error).__name__}: {error}, in {' > '.join(at.name for at in mine)}")

    def _problem(self, words: str) -> None:
        self.counts["problems"] += 1
        self.problems.append(words)

    # Those who ask

    async def _asks(self, n: int, answers: int, until: float) -> None:
        draw, line, mine = random.Random(100 + n), Line(self.port), 0
        ways = [self._slow, self._gone, self._bad, self._odd, self._put_broken, self._unfinished]
        while mine < answers and not self.problems and time.monotonic() < until:
            if draw.random() < 0.75:
                mine += await self._good(draw, line)
            else:
                await draw.choice(ways)(draw, line)
        line.close()

    async def _good(self, draw: random.Random, line: Line) -> int:
        name, images = draw.choice(self.names), [draw.choice(GOOD) for _ in range(draw.randint(1, 2))]
        begin = time.monotonic()
        if len(images) == 1 and draw.random() < 0.3:
            said = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(images[0]).decode()]}
            asked = json.dumps({"inputs": [said], "parameters": {"task": name}}).encode()
            status, body = await line.ask("POST", "/v2/models/taskfold/infer", asked)
            self.counts["asked in protocol v2"] += 1
            body = as_answers(body) if status == 200 else body
        elif len(images) == 1:
            status, body = await line.ask("POST", f"/predict?task={name}", images[0])
        else:
            bound = "----canary"
            parts = [f'--{bound}\r\ncontent-disposition: form-data; name="task"\r\n\r\n{name}\r\n'.encode()]
            head = f'--{bound}\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n'.encode()
            parts += [head + image + b"\r\n" for image in images]
            kind = {"content-type": f"multipart/form-data; boundary={bound}"}
            status, body = await line.ask("POST", "/predict", b"".join(parts) + f"--{bound}--\r\n".encode(), kind)
        return self._checked(name, begin, status, body, len(images))

    def _checked(self, name: str, begin: float, status: int, body: bytes, rows: int) -> int:
        end = time.monotonic()
        if status == 404:
            self.counts["refused by name"] += 1
            if not self.history.could(name, None, begin, end):
                self._problem(f"{name} was there: {body!r}")
            return 0
        if status in (503, 504):  # as many wait as may, or it took too long: both are said
            self.counts[f"answered {status}"] += 1
            return 0
        try:
            assert status == 200, f"{status} {body!r}"
            answers = json.loads(body)["answers"]
            assert len(answers) == rows
            for one in answers:
                identity = identity_of(one["outputs"])
                assert one["task"] == name, f"asked {name}, answered by {one['task']}"
                stood = self.history.could(name, identity, begin, end)
                assert stood, f"{name} was answered by {identity}: {self.history.changes[name][-4:]}, asked {begin}"
            assert len({one["generation"] for one in answers}) == 1
        except AssertionError as error:
            self.counts["wrong"] += 1
            self._problem(f"{name}: {error}")
        self.counts["answers"] += rows
        return rows

    def _refused(self, what: str, status: int, wanted: set[int], body: bytes) -> None:
        self.counts[f"refused: {what}"] += 1
        if status not in wanted | {404, 503}:
            self._problem(f"{what}: {status} {body[:200]!r}, and not {wanted}")
        if "error" not in json.loads(body):
            self._problem(f"{what}: {status} without words")

    async def _bad(self, draw: random.Random, line: Line) -> None:
        what = draw.choice([*BAD])
        data, wanted = BAD[what]
        await self._refusing(line, what, "POST", f"/predict?task={draw.choice(self.names)}", data, wanted)

    async def _odd(self, draw: random.Random, line: Line) -> None:
        path = f"/v2/models/{draw.choice(self.names)}/infer"
        await self._refusing(line, "odd JSON", "POST", path, draw.choice(ODD), {400})

    async def _put_broken(self, draw: random.Random, line: Line) -> None:
        what = draw.choice([*self.broken])
        data, wanted = self.broken[what]
        headers = MANAGER if draw.random() < 0.8 else {}
        wanted = wanted if headers else {401, 413}
        await self._refusing(line, what, "PUT", f"/tasks/{draw.choice(self.names)}", data, wanted, headers)

    async def _refusing(
        self, line: Line, what: str, method: str, path: str, data: bytes, wanted: set[int], headers: Any = None
    ) -> None:
        try:
            status, body = await line.ask(method, path, data, headers)
        except (ConnectionError, asyncio.IncompleteReadError):
            line.close()
            if len(data) <= LIMITS.body:  # of what is too large the server may hear no more than the head
                raise
            self.counts["hung up on a large body"] += 1
            return
        self._refused(what, status, wanted, body)

    async def _slow(self, draw: random.Random, line: Line) -> None:
        """A body that trickles, and is answered in the end."""
        name, data, begin = draw.choice(self.names), GOOD[0], time.monotonic()
        line.close()
        await line.send("POST", f"/predict?task={name}", b"", said=len(data))
        assert line.writer is not None
        for at in range(0, len(data), 16):
            line.writer.write(data[at : at + 16])
            await asyncio.sleep(0.005 * draw.random())
        self.counts["slow"] += 1
        self._checked(name, begin, *await line.reply(), 1)

    async def _unfinished(self, draw: random.Random, line: Line) -> None:
        """Half a head, or half a body, and a client that goes away or waits to be sent away."""
        line.close()
        writer = await line.open()
        name = draw.choice(self.names)
        half = f"POST /predict?task={name} HTTP/1.1\r\nhost: localhost\r\n"
        writer.write((half if draw.random() < 0.5 else f"{half}content-length: 99\r\n\r\nhalf").encode())
        await writer.drain()
        await asyncio.sleep(0.01 * draw.random())
        self.counts["unfinished"] += 1
        line.close(rudely=draw.random() < 0.5)

    async def _gone(self, draw: random.Random, line: Line) -> None:
        """A whole request whose client does not wait for the answer."""
        line.close()
        await line.send("POST", f"/predict?task={draw.choice(self.names)}", GOOD[0])
        if draw.random() < 0.5:
            await asyncio.sleep(0.003 * draw.random())
        self.counts["gone"] += 1
        line.close(rudely=draw.random() < 0.5)

    # Those who change

    async def _changes(self, n: int) -> None:
        draw, line, mine = random.Random(n), Line(self.port), self.names[n :: self.changers]
        stands: dict[str, int] = {}
        while not self.over and not self.problems:
            name = draw.choice(mine)
            fresh = [one for one in mine if not self.versions[one]]
            older = [one for one in self.versions[name].values() if one != stands.get(name)]
            way = draw.random()
            if name in stands and fresh and way < 0.2:
                await self._rename(line, name, fresh[0], stands)
            elif name in stands and way < 0.4:
                await self._remove(line, name, draw.random() < 0.5, stands)
            elif older and way < 0.6:
                await self._roll_back(line, name, draw.choice(older), stands)
            else:
                await self._put(line, name, draw.choice([*self.canaries]), stands)
            self.memory.append(megabytes())
            for forgotten in mine:
                del self.history.changes[forgotten][:-200]
            await asyncio.sleep(0.01 * draw.random())
        line.close()

    async def _change(self, line: Line, what: str, method: str, path: str, body: bytes, **stand: int | None) -> Any:
        said: list[Any] = []

        async def change() -> None:
            status, reply = await line.ask(method, path, body, MANAGER)
            if status not in (200, 201):
                raise AssertionError(f"{what} {path}: {status} {reply!r}")
            said.append(json.loads(reply))

        await self.history.record(change, **stand)
        self.counts[what] += 1
        return said[0]

    async def _put(self, line: Line, name: str, identity: int, stands: dict[str, int]) -> None:
        what = "replaced" if name in stands else "added"
        made = await self._change(line, what, "PUT", f"/tasks/{name}", self.canaries[identity], **{name: identity})
        self.versions[name][made["digest"]] = stands[name] = identity

    async def _remove(self, line: Line, name: str, purge: bool, stands: dict[str, int]) -> None:
        path = f"/tasks/{name}?purge={str(purge).lower()}"
        await self._change(line, "purged" if purge else "removed", "DELETE", path, b"", **{name: None})
        del stands[name]
        if purge:
            self.versions[name].clear()

    async def _rename(self, line: Line, name: str, new: str, stands: dict[str, int]) -> None:
        identity, body = stands.pop(name), json.dumps({"name": new}).encode()
        change = {name: None, new: identity}
        made = await self._change(line, "renamed", "POST", f"/tasks/{name}/rename", body, **change)
        self.versions[name].clear()  # they went along, with other digests
        self.versions[new][made["digest"]] = stands[new] = identity

    async def _roll_back(self, line: Line, name: str, identity: int, stands: dict[str, int]) -> None:
        to = next(digest for digest, one in self.versions[name].items() if one == identity)
        await self._change(line, "rolled back", "POST", f"/tasks/{name}/rollback?to={to}", b"", **{name: identity})
        stands[name] = identity


async def campaign(
    answers: int,
    seconds: float = float("inf"),
    *,
    clients: int = 16,
    names: int = 8,
    changers: int = 2,
    identities: int = 20,
    resident: int | None = 4,
) -> tuple[Counter[str], list[str]]:
    logged = Logged()
    loggers = [logging.getLogger(name) for name in ("taskfold.serve", "uvicorn.error", "asyncio")]
    with tempfile.TemporaryDirectory() as folder, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        serving = server(store=Store(folder), limits=LIMITS, size=64, resident=resident)
        config = uvicorn.Config(
            application(serving, Access(TOKEN)), log_config=None, http=Patient, timeout_keep_alive=600
        )
        running = uvicorn.Server(config)
        for one in loggers:
            one.addHandler(logged)
        task = asyncio.create_task(running.serve([listening]))
        try:
            while not (running.started and serving.followed):
                await asyncio.sleep(0.01)
            port = listening.getsockname()[1]
            one = Hostile(port, files(range(1, identities)), names, clients, changers)
            await one.run(answers, seconds)
        finally:
            running.should_exit = True
            await task
            for each in loggers:
                each.removeHandler(logged)
        counts = one.counts
        for part in (1, 2, 3, 4):
            counts[f"MB after {part} of 4 parts"] = one.memory[len(one.memory) * part // 4 - 1]
        counts |= {"evicted": serving.residents.evictions, "came back": serving.residents.loads}
        leases = sum(version.held.leases for version in serving.versions.values())
        counts |= {"leases left": leases, "rows left": serving.batcher.waiting}
    return counts, [*one.problems, *(f"logged: {words}" for words in logged.said)]


if __name__ == "__main__":
    sys.exit(main(campaign, __doc__, resident=12))
