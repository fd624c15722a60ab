"""The laws of tests/device and the quick benchmark on a CUDA card: one JSON and one Markdown file, which name the card.

    python benchmarks/gpu.py                    gpu.json and gpu.md here
    python benchmarks/gpu.py --out results      there

The laws have 180 seconds and the benchmark 210; what is not done by then is left out, and the files say so. Without
CUDA it writes nothing. It ends with 0 only if every law held and the benchmark ended.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
LAWS, SECONDS = 180, 210
"""After the first no new law begins; the second is for all of them, and as many are for the benchmark."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(), help="a folder for gpu.json and gpu.md")
    parser.add_argument("--device", default="cuda", help="cpu: to see that this script works")
    options = parser.parse_args()
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        sys.exit(f"gpu: torch {torch.__version__} finds no CUDA here")
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"machine": machine(options.device)}
    found["laws"] = laws(options.device)
    write(options.out, found)  # what is known stays, whatever the benchmark does
    found["benchmark"] = benchmark(options.device)
    write(options.out, found)
    print(markdown(found))
    print(f"Written: {options.out / 'gpu.json'}, {options.out / 'gpu.md'}")
    sys.exit(not (found["laws"]["held"] and found["benchmark"]["ended"]))


def machine(device: str) -> dict[str, Any]:
    known: dict[str, Any] = {"python": sys.version.split()[0], "torch": torch.__version__, "cores": os.cpu_count()}
    if torch.device(device).type != "cuda":
        return {"card": f"none, {device}", **known}
    facts = torch.cuda.get_device_properties(device)
    memory, capability = round(facts.total_memory / 2**30), f"{facts.major}.{facts.minor}"
    return {"card": facts.name, "memory_gib": memory, "capability": capability, "cuda": torch.version.cuda, **known}


def laws(device: str) -> dict[str, Any]:
    """What pytest says of tests/device."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "laws.xml"
        command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/device", "--device", device]
        # An interpreter that is used as it is may have old packages beside new ones, which warn of one another.
        old = ["-W", "default::DeprecationWarning", "-W", "default::FutureWarning"]
        done = _run([*command, *old, "--seconds", str(LAWS), f"--junitxml={report}"])
        cases = list(ET.parse(report).iter("testcase")) if report.exists() else []
    failures = {
        f"{case.get('classname')}::{case.get('name')}": (problem.get("message") or "").splitlines()[:3]
        for case in cases
        for problem in case
        if problem.tag in ("failure", "error")
    }
    skipped = sorted({part.get("message") or "" for case in cases for part in case if part.tag == "skipped"})
    number = sum(part.tag == "skipped" for case in cases for part in case)
    counts = {"passed": len(cases) - len(failures) - number, "failed": len(failures), "skipped": number}
    return {**done, **counts, "held": done["ended"] and bool(cases), "why_skipped": skipped, "failures": failures}


def benchmark(device: str) -> dict[str, Any]:
    """The document of vision.py."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vision.json"
        done = _run(["benchmarks/vision.py", "--quick", "--seconds", "8", "--device", device, "--json", str(path)])
        document = json.loads(path.read_text()) if path.exists() else {"tables": []}
    return {**done, **document}


def _run(arguments: list[str]) -> dict[str, Any]:
    """A script in a process of its own: whether it ended well, its seconds, and the end of its output if not."""
    start = time.perf_counter()
    try:
        said = {"cwd": ROOT, "timeout": SECONDS, "capture_output": True, "text": True}
        done = subprocess.run([sys.executable, *arguments], check=False, **said)
        code, text = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as stopped:
        code, text = f"stopped after {SECONDS} seconds", _text(stopped.stdout) + _text(stopped.stderr)
    known = {
        "command": " ".join(["python", *arguments]),
        "exit": code,
        "seconds": round(time.perf_counter() - start, 1),
    }
    return {**known, "ended": code == 0, **({} if code == 0 else {"output": text.splitlines()[-40:]})}


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def write(folder: Path, found: dict[str, Any]) -> None:
    (folder / "gpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "gpu.md").write_text(markdown(found), encoding="utf-8")


def markdown(found: dict[str, Any]) -> str:
    """The card, the laws and a table for each of the benchmark's."""
    card = found["machine"]["card"]
    lines = [f"# Taskfold on {card}", "", ", ".join(f"{key} {value}" for key, value in found["machine"].items()), ""]
    for name in ("laws", "benchmark"):
        if part := found.get(name):
            lines += [f"- {name}: `{part['command']}`, exit {part['exit']}, {part['seconds']:.0f} s"]
    said = found["laws"]
    lines += ["", "## Laws", "", f"{said['passed']} passed, {said['failed']} failed, {said['skipped']} skipped."]
    lines += [f"- failed: `{name}`: {' '.join(message)}" for name, message in said["failures"].items()]
    lines += [f"- skipped: {reason}" for reason in said["why_skipped"]]
    left_out = found.get("benchmark", {}).get("left_out")
    if left_out:
        lines += ["", f"Not installed, left out of every table: {', '.join(left_out)}."]
    for table in found.get("benchmark", {}).get("tables", ()):
        lines += ["", f"## {table['title']}", "", "| | ms | ratio | quartiles | MB |", "|---|---|---|---|---|"]
        for name, row in sorted(table["methods"].items(), key=lambda item: item[1]["ratio"]):
            peak = f"{row['peak_mb']:.0f}" if "peak_mb" in row else "–"
            spread = f"{row['low']:.2f}–{row['high']:.2f}"
            lines.append(f"| {name} | {row['seconds'] * 1e3:.4g} | {row['ratio']:.2f} | {spread} | {peak} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
