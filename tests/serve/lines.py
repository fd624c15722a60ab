"""A client's connection that may send less than announced, and close abruptly."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping

Reply = tuple[int, bytes]


class Line:
    """One client's connection, opened again when the server has closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def open(self) -> asyncio.StreamWriter:
        if self.writer is None or self.writer.is_closing() or self.reader is None or self.reader.at_eof():
            self.close()
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self.writer

    def close(self, rudely: bool = False) -> None:
        if self.writer is not None:
            if rudely:  # a reset instead of a goodbye
                linger = struct.pack("ii", 1, 0)
                self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.writer.close()
        self.reader = self.writer = None

    async def send(
        self, method: str, path: str, body: bytes, /, said: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """A request, perhaps with less of its body than it says."""
        writer = await self.open()
        lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {said or len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    async def reply(self) -> Reply:
        assert self.reader is not None
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:"))
        body = await self.reader.readexactly(length)
        if "connection: close" in head:
            self.close()
        return int(head.split()[1]), body

    async def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        for again in (True, False):  # a connection that was idle may have been closed meanwhile
            try:
                await self.send(method, path, body, headers=headers)
                status, body = await self.reply()
                if status in (401, 413):  # the server may not have read the body, and closes
                    self.close()
                return status, body
            except (ConnectionError, asyncio.IncompleteReadError):
                self.close()
                if not again or method != "POST" or "predict" not in path:
                    raise
        raise AssertionError
