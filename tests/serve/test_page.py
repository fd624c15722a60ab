"""The page in a real browser lists the tasks under its own rules for scripts."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
import uvicorn

from taskfold.serve.web import application

from .colours import server, task_file

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_the_page_lists_tasks_and_shows_what_the_server_does(tmp_path: Path) -> None:
    serving = server()
    for name in ("cars", "birds"):
        serving.load(name, task_file(tmp_path, name, ""))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(application(serving), log_level="warning", lifespan="on")
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        while not running.started:
            time.sleep(0.05)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/user"]
        try:
            found = subprocess.run(
                [*command, "--virtual-time-budget=4000", "--dump-dom", address],
                capture_output=True,
                text=True,
                timeout=100,
                check=True,
            ).stdout
        finally:
            running.should_exit = True
            thread.join()
    assert "<span>cars</span>" in found
    assert "2 of 2, 0 chosen" in found
    assert '<dd id="served">2</dd>' in found
