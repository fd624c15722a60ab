"""Warms the network up: it looks at batches of all sizes before a request waits for one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from itertools import cycle

import torch

from ._batcher import Batcher
from ._engine import Engine, Stacked
from ._version import Version

LOG = logging.getLogger("taskfold.serve")


class Warmth:
    """Runs noise through the network, in each number of rows that the batcher makes, once for each shape of rows. What
    decodes images is imported before.

    The network looks at the first batch of each number of rows, which takes several times as long as a later
    one; see docs/checks.md. Readings without a shape (texts, images of any size) run nothing.

    Args:
        engine, batcher: the server's.
        wanted: False: nothing runs.
    """

    def __init__(self, engine: Engine, batcher: Batcher, wanted: bool) -> None:
        self.engine, self.batcher, self.wanted = engine, batcher, wanted
        self.seen = set[tuple[int, ...]]()

    async def of(self, version: Version, others: Iterable[Version]) -> None:
        """Warm up for a version before its first answer, beside `others`, whose batches run in between."""
        if self.wanted and version.reading.takes == "image":
            from ._decoding import formats  # noqa: PLC0415  an extra

            await asyncio.to_thread(formats)
        shape = tuple(size for size in version.reading.shape or () if size is not None)
        if not self.wanted or not shape or shape != version.reading.shape or shape in self.seen:
            return
        alike = [one.held.key for one in others if one.reading.shape == shape and one.held.present]
        keys = list(dict.fromkeys([version.held.key, *alike]))[:2]
        if self.engine.bank is None and len(keys) < 2:
            return  # a bank looks at all batches, a model only at those of several tasks
        self.seen.add(shape)
        rows = torch.randn(self.batcher.size, *shape, generator=torch.Generator().manual_seed(0))
        for count in self.batcher.sizes:
            batch = list(zip(cycle(keys), rows[:count]))
            try:
                await self.batcher.apply(lambda batch=batch: self.engine.run(Stacked(shape, rows.dtype), batch))
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                LOG.warning("batches of %d rows of %s cannot run: %s", count, list(shape), error)
