"""Test modules that are run as programs of their own, since they kill themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_module(name: str, folder: Path) -> str:
    """What the module prints, with the folder as its argument and one thread; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", name, folder],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
