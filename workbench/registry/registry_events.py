"""What the registry puts on the record: events of servers, and their health."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from workbench.events import JSON, NotRecordedError

if TYPE_CHECKING:
    from workbench.audit import AuditLog

OnEvent = Callable[[str, str, JSON], None]

_log = logging.getLogger(__name__)


class RegistryEvents:
    """Writes registry events and health checks to the audit log, under one tenant.

    Args:
        audit: the log.
        tenant: whose the servers are: that of the platform, or the one for which alone a server exists.
        replica: of which one of several replicas it tells.
    """

    def __init__(
        self, audit: AuditLog, tenant: str, *, replica: int | None = None, on_event: list[OnEvent] | None = None
    ) -> None:
        self._audit = audit
        self._tenant = tenant
        self._replica = replica
        self.on_event: list[OnEvent] = [] if on_event is None else on_event
        """Told of each event: the server, what happened, and details. Shared with the journals made from this one."""

    def of_tenant(self, tenant: str) -> RegistryEvents:
        """The journal of servers that exist for one tenant alone; without one, this."""
        return RegistryEvents(self._audit, tenant, on_event=self.on_event) if tenant else self

    def of_replica(self, number: int) -> RegistryEvents:
        """The same journal for one of several replicas: its events say which."""
        return RegistryEvents(self._audit, self._tenant, replica=number, on_event=self.on_event)

    def event(self, server: str, event: str, detail: JSON | None = None) -> None:
        """Something has happened to a server by itself. The record follows when it can."""
        from workbench.audit.format import records

        told = detail or {}
        if self._replica is not None:
            told = {**told, "replica": self._replica}
        self._put(records.registry_event(server, event, told, tenant=self._tenant))
        for tell in self.on_event:
            tell(server, event, told)

    def health(self, server: str, ok: bool, latency_us: int, message: str) -> None:
        """One health check."""
        from workbench.audit.format import records

        self._put(records.health_check(server, ok, latency_us, message, tenant=self._tenant))

    async def decided(self, server: str, event: str, detail: JSON | None = None) -> None:
        """Somebody wants something done to a server; it may be done once this returns.

        Raises:
            NotRecordedError: it cannot be recorded, so it must not be done.
        """
        from workbench.audit.format import records

        await self._audit.write(self._tenant, records.registry_event(server, event, detail or {}, tenant=self._tenant))

    def _put(self, record: JSON) -> None:
        try:
            self._audit.put(self._tenant, record)
        except NotRecordedError as e:
            # Servers go on being looked after: calls are refused by the gateway while nothing can be recorded.
            _log.warning("a registry event was not recorded: %s", e)
