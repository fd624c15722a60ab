"""Test modules that run as programs of their own: they kill themselves, or are several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_module(name: str, folder: Path, *, launcher: str = "", **environment: str) -> str:
    """What the module prints, with the folder as its argument and one thread; it must end well.

    Args:
        launcher: arguments of Python's before the module's.
        environment: more variables.
    """
    done = subprocess.run(
        [sys.executable, *launcher.split(), "-m", name, folder],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
