"""Good and broken bodies of requests, with a server's allowed responses."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib

import torch
from PIL import Image

import taskfold as tfold
from taskfold.serve import Limits

from .canaries import network

LIMITS = Limits(body=60_000, pixels=10_000, rows=8, rank=8, outputs=16, tasks=64, seconds=20)


def picture(mode: str = "RGB", kind: str = "PNG") -> bytes:
    made = io.BytesIO()
    Image.new(mode, (3, 3)).save(made, kind)
    return made.getvalue()


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a hundred bytes that says that it has billions of pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


GOOD = [picture(mode) for mode in ("RGB", "L", "RGBA", "P", "LA", "1", "I;16")]
GOOD += [picture("CMYK", "JPEG"), picture("RGB", "GIF"), picture("RGB", "BMP")]
BAD = {
    "garbage": (bytes(range(256)) * 4, {400}),
    "nothing": (b"", {400}),
    "cut short": (picture()[:-30], {400}),
    "a pixel bomb": (bomb(), {413}),
    "a wide image": (bomb(20_000, 1), {413}),
    "no pixels": (bomb(0, 0), {400}),
    "a large body": (bytes(LIMITS.body + 1), {413}),
}
ODD = [b"{", b"[]", b'{"inputs": 3}', b'{"inputs": [{"name": "image", "shape": [99999999999], "datatype": "BYTES"}]}']


def broken_tasks(good: bytes) -> dict[str, tuple[bytes, set[int]]]:
    """Bodies that are no task of this server."""
    with tempfile.TemporaryDirectory() as folder:

        def made(method: tfold.Method, head: int, net: torch.nn.Module | None = None) -> bytes:
            model = tfold.MultiTask(net or network(), method, num_features=4)
            model.add_task("canary", head=head)
            return model.save_task("canary", f"{folder}/canary.safetensors").read_bytes()

        return {
            "a large rank": (made(tfold.LoRA(rank=9), 2), {413}),
            "a wide head": (made(tfold.LoRA(rank=1), 17), {413}),
            "a large file": (good + bytes(LIMITS.body), {413}),
            "another backbone": (made(tfold.LoRA(rank=1), 2, torch.nn.Sequential(torch.nn.Linear(3, 4))), {422}),
            "half a file": (good[: len(good) // 2], {422}),
            "a damaged file": (good[:-8] + b"\xff" * 8, {422}),
            "no file": (b"", {422}),
        }
