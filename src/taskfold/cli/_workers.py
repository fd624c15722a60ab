"""Packs of one configuration in several processes, on this machine or on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from ._output import UserError, say

Cluster = Literal["local", "slurm"]
WEEK = 7 * 24 * 60
"""The most minutes of a process."""


def run_workers(
    config: Path, output: Path, names: Sequence[str], processes: int, cluster: Cluster, fresh: bool
) -> None:
    """Train tasks in packs, in several processes with one thread each; wait for all."""
    try:
        import submitit  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise ImportError('--processes needs submitit: pip install "taskfold[cluster]"') from error
    shares = [share for n in range(processes) if (share := names[n::processes])]
    line = [
        "env",
        "OMP_NUM_THREADS=1",
        sys.executable,
        "-m",
        "taskfold",
        "train",
        str(config.absolute()),
        "--threads",
        "1",
    ]
    try:
        executor = submitit.AutoExecutor(output / "jobs", cluster=cluster)
    except RuntimeError as error:
        raise UserError(f"--cluster {cluster}: {error}") from None
    executor.update_parameters(name="taskfold", cpus_per_task=1, timeout_min=WEEK)
    if cluster == "local":
        executor.update_parameters(gpus_per_node=torch.cuda.device_count())  # all other processes are told the same
    jobs = []
    for number, share in enumerate(shares, 1):
        more = ["--worker", str(number), *(["--fresh"] if fresh else [])]
        tasks = [part for name in share for part in ("--task", name)]
        jobs.append(executor.submit(submitit.helpers.CommandFunction([*line, *more, *tasks], cwd=Path.cwd())))
        say(f"Process {number}: {len(share)} task{'s' * (len(share) > 1)}, job {jobs[-1].job_id}", "dim")
    try:
        failed = {n: error for n, job in enumerate(jobs, 1) if (error := job.exception()) is not None}
    except BaseException:
        for job in jobs:
            job.cancel()
        for job in jobs:
            job.wait()
        raise
    if failed:
        number, error = next(iter(failed.items()))
        raise UserError(
            f"{len(failed)} of {len(jobs)} processes have failed, the first is {number}: {_last_line(str(error))}; "
            f"what was finished is kept, and the same command goes on (what they said: {output / 'jobs'})"
        )
    for left in (output / "train").glob("pack-*.safetensors"):  # of tasks that another process has finished
        left.unlink()


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), text)
