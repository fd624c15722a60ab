"""What the benchmarks are asked, print and write: ratios with their spread, and the machine."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch


def options(about: str | None, *, quick: str, rounds: int, seconds: float) -> argparse.ArgumentParser:
    """What all of them can be asked."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write all numbers here")
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--rounds", type=int, default=rounds, help="at most")
    parser.add_argument("--seconds", type=float, default=seconds, help="per table, after which no new round starts")
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--memory-of", nargs=4, help=argparse.SUPPRESS)
    return parser


class Document:
    """All numbers of a run; the file, if one is wanted, is there from the first table on."""

    def __init__(self, path: Path | None, *packages: str) -> None:
        self.path = path
        command = " ".join(["python", *sys.argv])
        self.content: dict[str, Any] = {"command": command, "machine": machine(*packages), "tables": []}

    def add(self, title: str, table: dict[str, dict[str, float]], /, **facts: Any) -> None:
        """Show a table, and keep it."""
        show(title, table)
        self.content["tables"].append({**facts, "methods": table})
        self.write()

    def write(self) -> None:
        if self.path:
            self.path.write_text(json.dumps(self.content, indent=1) + "\n")


def machine(*packages: str) -> dict[str, Any]:
    """What ran: the card too, if torch finds one."""
    card = {"card": torch.cuda.get_device_name(), "cuda": torch.version.cuda} if torch.cuda.is_available() else {}
    return {
        **card,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", *packages)},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def show(title: str, table: dict[str, dict[str, float]]) -> None:
    print(f"\n{title}")
    print(f"{'':34}{'ms':>9}{'ratio':>8}   quartiles      peak MB")
    for name, row in sorted(table.items(), key=lambda item: item[1]["ratio"]):
        peak = f"{row['peak_mb']:>9.0f}" if "peak_mb" in row else ""
        quartiles = f"{row['low']:.2f} – {row['high']:.2f}"
        print(f"{name:34}{row['seconds'] * 1e3:>9.4g}{row['ratio']:>8.2f}   {quartiles}  {peak}", flush=True)


def peak_of(run: Callable[[], None]) -> float:
    """MB that two steps add to what the card holds, or, without a card, the process (Linux, with glibc)."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        run()
        run()
        return (torch.cuda.max_memory_allocated() - held) / 2**20
    ctypes.CDLL(None).malloc_trim(0)  # what building the network left free would be used again, and not be seen
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status("VmRSS")
    run()
    run()
    return (_status("VmHWM") - before) / 1024


def peak_elsewhere(script: str, *fields: object) -> float:
    """What `--memory-of` prints in a process of its own."""
    command = [sys.executable, script, "--memory-of", *map(str, fields)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _status(key: str) -> int:
    """kB, of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
