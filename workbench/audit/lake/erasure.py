"""Forgetting a person: their keys are destroyed, and that it was done is on the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.audit.format.folder import AuditFolder
from workbench.audit.format.records import administration
from workbench.audit.write.log import AuditLog
from workbench.audit.write.subject_keys import FILE, SubjectKeys
from workbench.events import MisuseError

if TYPE_CHECKING:
    from workbench.config import Settings


async def forget(settings: Settings, tenant: str, subject: str) -> int:
    """Destroy the keys of one person; returns how many there were.

    A running platform notices with the next record. Copies of the key file that were made elsewhere have to be
    destroyed there.

    Raises:
        MisuseError: nothing was ever encrypted for this person.
        NotRecordedError: the log cannot be written; then the keys are still there.
    """
    if not (AuditFolder(settings.home).home / FILE).exists():
        raise MisuseError(
            "Nothing is encrypted on this record.", hint="Set WORKBENCH_AUDIT_ENCRYPT=true for what comes."
        )
    log = await AuditLog.open(settings)
    keys = SubjectKeys(settings.home)
    try:
        if not keys.known(tenant, subject):
            raise MisuseError(
                f"There is no key of {subject!r} in tenant {tenant!r}.", hint="Look at user_id in tool_calls."
            )
        await log.write(tenant, administration("forget", {"subject": subject}, None, tenant=tenant))
        return keys.forget(tenant, subject)
    finally:
        keys.close()
        await log.close()
