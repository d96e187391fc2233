"""Wrong credentials on the record: who tried what from where, without what was shown."""

from __future__ import annotations

import logging
from typing import Final

from workbench.access.failed_credentials import CredentialFailure
from workbench.audit import AuditLog
from workbench.audit.format import records
from workbench.events import JSON, NotRecordedError

SINGLY: Final = 5
"""Failures of one credential at one address that are recorded one by one in a minute; the others are counted."""

_log = logging.getLogger(__name__)


class CredentialRecorder:
    """Writes `access_event` records named `credential refused`.

    Args:
        audit: the record.
        tenant: who runs the platform, and may read of it.
    """

    def __init__(self, audit: AuditLog, tenant: str) -> None:
        self._audit = audit
        self._tenant = tenant

    def take(self, failure: CredentialFailure) -> None:
        """Record one, or count it with those like it."""
        key = ("credential", failure.address, failure.credential, failure.door, str(failure.throttled))
        try:
            if not self._audit.repeats.add(self._tenant, key, lambda: self._record(failure), singly=SINGLY):
                self._audit.put(self._tenant, self._record(failure))
        except NotRecordedError as e:
            _log.warning("a refused credential was not recorded: %s", e)

    def _record(self, failure: CredentialFailure) -> JSON:
        detail = {
            "address": failure.address,
            "door": failure.door,
            "credential": failure.credential,
            "reason": failure.reason,
            "throttled": failure.throttled,
        }
        return records.access_event("credential refused", detail, tenant=self._tenant, subject="")
