"""What the benchmarks print and write: ratios with their spread, and the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def machine(*packages: str) -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", *packages)},
    }


def show(title: str, table: dict[str, dict[str, float]]) -> None:
    print(f"\n{title}")
    print(f"{'':30}{'ms':>9}{'ratio':>8}   quartiles      peak MB")
    for name, row in sorted(table.items(), key=lambda item: item[1]["ratio"]):
        peak = f"{row['peak_mb']:>9.0f}" if "peak_mb" in row else ""
        quartiles = f"{row['low']:.2f} – {row['high']:.2f}"
        print(f"{name:30}{row['seconds'] * 1e3:>9.1f}{row['ratio']:>8.2f}   {quartiles}  {peak}", flush=True)


def peak_of(run: Callable[[], None]) -> float:
    """MB that two steps add to what the process has; Linux."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status("VmRSS")
    run()
    run()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    """kB, of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
