"""A mixed-task batch in a fresh process: backbone and task files in, one answer per row out."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from taskfold import MultiTask, backbones


def in_fresh_process(
    backbone: str, files: dict[str, Path], rows: list[str], images: Tensor, folder: Path
) -> dict[str, Any]:
    """Serve `images[n]` with task `rows[n]`, all in one forward pass of another Python process.

    Returns:
        `outputs` (per row), `seconds` of the forward pass.
    """
    request = folder / "mixed-batch.json"
    pixels = folder / "mixed-batch.safetensors"
    safetensors.torch.save_file({"images": images.contiguous()}, pixels)
    names = {name: str(path) for name, path in files.items()}
    request.write_text(json.dumps({"backbone": backbone, "files": names, "rows": rows, "images": str(pixels)}))
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(request)], capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the fresh process failed: {done.stderr.strip().rpartition(chr(10))[2]}")
    return json.loads(done.stdout)


@torch.no_grad()
def main(request: str) -> None:
    """Answer one request; JSON on standard output."""
    asked = json.loads(Path(request).read_text())
    loaded = backbones.load(asked["backbone"])
    model = MultiTask(loaded.network, features=loaded.features, num_features=loaded.num_features).eval()
    for name, path in asked["files"].items():
        model.load_task(path, name=name)
    images = safetensors.torch.load_file(asked["images"])["images"]
    started = time.perf_counter()
    outputs = model(images, task=asked["rows"])
    seconds = time.perf_counter() - started
    sys.stdout.write(json.dumps({"outputs": [row.tolist() for row in outputs], "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1])
