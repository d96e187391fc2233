"""Keeps a registry in step with those of the other gateways of its control store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from workbench.control import ControlStore, ControlStoreError
from workbench.events import NotRecordedError

RETRY_PAUSE_S = 2.0
"""Pause before what could not be taken over is tried again."""
_TABLES = ("", "registry_pins", "registry_servers")
_log = logging.getLogger(__name__)


class ClusterSync:
    """Has what other gateways register, remove and accept taken over as soon as it is told of.

    Args:
        store: tells of changes; one of this machine alone tells of none.
        step: takes over what is different there now.
    """

    def __init__(self, store: ControlStore, step: Callable[[], Awaitable[None]]) -> None:
        self._step = step
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        store.on_change.append(self._told)
        self._task = asyncio.create_task(self._follow(), name="registries of other gateways")

    async def stop(self) -> None:
        """Follow no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _told(self, table: str, key: str) -> None:
        if table in _TABLES and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._step()
            except (ControlStoreError, NotRecordedError) as e:
                _log.warning("what other gateways changed was not taken over: %s", e)
                await asyncio.sleep(RETRY_PAUSE_S)
                self._changed.set()
