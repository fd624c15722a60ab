"""Metrics for Prometheus. None is by task: `GET /tasks/{name}` has those, for any number of tasks."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._server import TaskServer

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Numbers(Collector):
    """Metrics of the server, collected on request."""

    def __init__(self, server: TaskServer) -> None:
        self.server = server

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        batcher, counts = self.server.batcher, self.server.batcher.counts
        for name, text, value in (
            ("taskfold_batches", "Batches that ran.", counts.batches),
            ("taskfold_rows", "Rows that ran in batches.", counts.rows),
            ("taskfold_failed_rows", "Rows whose run raised.", counts.failed),
            ("taskfold_batch_seconds", "Seconds in which batches ran.", counts.seconds),
            ("taskfold_changes", "Changes between batches.", counts.changes),
            ("taskfold_loads", "Tasks that came back from the disk.", self.server.residents.loads),
            ("taskfold_evictions", "Tasks that left memory for others.", self.server.residents.evictions),
        ):
            yield CounterMetricFamily(name, text, value=value)
        for name, text, value in (
            ("taskfold_waiting_rows", "Rows that wait.", batcher.waiting),
            ("taskfold_tasks", "Tasks that are served.", len(self.server.versions)),
            ("taskfold_resident_tasks", "Tasks in memory.", len(self.server.residents)),
            ("taskfold_task_bytes", "Bytes of all tasks in memory.", self.server.engine.nbytes()),
        ):
            yield GaugeMetricFamily(name, text, value=value)


class Measured:
    """Counts responses and their seconds, by route and status."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self.app = app
        self.responses = Counter("taskfold_responses", "Responses.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "taskfold_response_seconds", "Seconds to a response.", ["route"], registry=registry, buckets=SECONDS
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.responses.labels(route, status).inc()
            self.seconds.labels(route).observe(time.perf_counter() - begin)
