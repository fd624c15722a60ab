"""A server's application as a Ray Serve deployment: replicas, each with a batcher and a bank of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

try:
    from ray import serve  # pyright: ignore[reportMissingImports]
    from ray.serve import Application  # pyright: ignore[reportMissingImports]
    from ray.serve.config import BackpressureConfig  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError as error:
    if error.name != "ray":
        raise
    raise ImportError('taskfold.serve.replicas needs ray: pip install "taskfold[ray]"') from error

__all__ = ["Application", "deployed", "run"]


def deployed(
    build: Callable[[], FastAPI],
    *,
    replicas: int | tuple[int, int] = 1,
    ongoing: int = 128,
    waiting: int = 4096,
    cpus: float = 1,
    gpus: float = 0,
) -> Application:
    """The application of `taskfold.serve.web.application` in several processes, for `ray.serve.run`.

    A request names its tasks, so every replica answers for all tasks and runs them in one batch. Replicas that
    share a store answer alike: each checks the store before it answers. A replica takes requests once it is ready.

    Args:
        build: makes the application in each replica, to which Ray sends it by pickle.
        replicas: their number; or the least and the most, between which Ray adjusts it to the requests.
        ongoing: the most requests that a replica has at a time; others wait. Ray adds replicas when each
            has more than half as many.
        waiting: the most requests that wait for replicas; others get 503 with Retry-After.
        cpus, gpus: of each replica, as Ray counts them. Without `gpus` a replica sees none.

    Raises:
        ValueError: the least number of replicas is < 1 or above the most, or another number is too small.
    """
    fewest, most = replicas if isinstance(replicas, tuple) else (replicas, replicas)
    if not 1 <= fewest <= most:
        raise ValueError(f"replicas must be at least 1, the fewest before the most, found {replicas}")
    for name, value, least in (("ongoing", ongoing, 1), ("waiting", waiting, 1), ("cpus", cpus, 0), ("gpus", gpus, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, found {value}")

    def application() -> FastAPI:
        return build()

    @serve.ingress(application)
    class Taskfold:
        app: FastAPI

        async def check_health(self) -> None:
            """Ray's health check, which a replica passes before it gets requests."""
            server = self.app.state.server
            while server.batcher.running and not server.ready:
                await asyncio.sleep(0.05)
            if not server.batcher.running:
                raise RuntimeError("batches run no more; start the replica again")

    scaled = {"min_replicas": fewest, "max_replicas": most, "target_ongoing_requests": max(1, ongoing // 2)}
    number: dict[str, Any] = {"num_replicas": fewest} if fewest == most else {"autoscaling_config": scaled}
    return serve.deployment(
        name="Taskfold",
        max_ongoing_requests=ongoing,
        max_queued_requests=waiting,
        backpressure_config=BackpressureConfig(retry_after_s=1),
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        max_constructor_retry_count=2,
        logging_config={"enable_access_log": False},
        **number,
    )(Taskfold).bind()  # type: ignore[attr-defined]


def run(application: Application, host: str, port: int, started: Callable[[], None]) -> None:
    """Run an application on this machine's Ray, or on an existing cluster, until it is interrupted.

    Args:
        application: see `deployed`.
        host, port: the address of Ray's proxy, unless it runs already.
        started: called once the proxy listens.
    """
    serve.start(http_options={"host": host, "port": port})
    started()
    try:
        serve.run(application, blocking=True, name="taskfold")
    finally:
        serve.delete("taskfold")  # a cluster's other applications continue
