"""A destructive call that a standing approval lets through: looked up, counted, and on the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.audit.format import records
from workbench.events import Call, Tool, now_us
from workbench.policy.approvals.standing_approvals import SCOPE, StandingApproval, StandingApprover, StandingMatch

if TYPE_CHECKING:
    from workbench.access import Access
    from workbench.audit import AuditLog
    from workbench.policy import Policy

NEEDED = (SCOPE, "approvals:decide")


class StandingUse:
    """Uses standing approvals up.

    Args:
        policy: keeps them.
        access: whether those who gave one still may.
        audit: every use, and every one that came to nothing, is on the record.
    """

    def __init__(self, policy: Policy, access: Access, audit: AuditLog) -> None:
        self._policy, self._access, self._audit = policy, access, audit

    async def of(self, call: Call, tool: Tool) -> StandingApproval | None:
        """The standing approval that lets `call` through, counted; None where there is none.

        Raises:
            NotRecordedError: the record cannot be written. The use is counted then, and nothing runs.
        """
        standing = self._policy.standing
        if not standing.on:
            return None
        found: StandingMatch = await standing.store.aside(standing.use, call, tool, self._may)
        tenant = call.caller.tenant
        for each in found.voided:
            await self._audit.write(tenant, records.approval(each.to_dict(), "standing_void", tenant=tenant))
        if found.used is not None:
            kept = {**found.used.to_dict(), "call": call.id, "run": call.run}
            await self._audit.write(tenant, records.approval(kept, "standing_used", tenant=tenant))
        return found.used

    def _may(self, standing: StandingApproval) -> bool:
        return all(self._still_may(standing.tenant, giver) for giver in standing.votes)

    def _still_may(self, tenant: str, giver: StandingApprover) -> bool:
        """Whether somebody still has the rights to give it: by a key that is good now, or by what their roles grant.

        Who came with a token or a certificate shows their roles anew with each request alone, which is why such an
        approval lasts for an hour at most.
        """
        access = self._access
        local = access.local_caller()
        if (local.tenant, local.subject) == (tenant, giver.by) and all(map(local.has, NEEDED)):
            return True
        if giver.method in ("local", "key"):
            good = [key for key in access.keys() if key.usable(now_us())]  # noqa: SIM118 - no mapping
            theirs = [access.caller_of(key) for key in good if (key.tenant, key.subject) == (tenant, giver.by)]
            return any(all(map(each.has, NEEDED)) for each in theirs)
        granted = access.granted(giver.roles) if giver.roles else frozenset()
        return all(any(_covers(held, scope) for held in granted) for scope in NEEDED)


def _covers(held: str, scope: str) -> bool:
    return held in ("*", scope) or (held.endswith(":*") and scope.startswith(held[:-1]))
