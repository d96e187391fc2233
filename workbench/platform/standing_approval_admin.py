"""Standing approvals at the doors: given with a yes to a waiting call, listed, revoked; every step is on the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.audit.format import records
from workbench.events import JSON, Caller, MisuseError
from workbench.policy.approvals.approval import ApprovalRefusedError
from workbench.policy.approvals.standing_approvals import PreparedStandingApproval, StandingApproval, StandingTerms

if TYPE_CHECKING:
    from workbench.platform.platform import Platform


async def prepare(
    platform: Platform, approval: str, arguments: JSON | None, terms: StandingTerms, caller: Caller
) -> PreparedStandingApproval:
    """Check that a yes of `caller` to a waiting call may let it be repeated on these terms.

    Raises:
        MisuseError: no such approval in the caller's tenant, not theirs to give, or the terms cannot be meant.
    """
    desk, standing = platform.policy.approvals, platform.policy.standing

    def check() -> PreparedStandingApproval:
        found = desk.get(approval)
        if found is None or found.tenant != caller.tenant or found.status != "pending":
            raise ApprovalRefusedError(
                f"There is no approval {approval[:80]!r} that waits.", hint="`workbench approvals` lists those that do."
            )
        clear = arguments if arguments is not None else desk.arguments(approval, caller)
        now = {tool.qualified: tool.definition_hash for tool in platform.registry.tools()}
        if now.get(found.tool) != found.definition_hash:
            raise MisuseError(
                f"{found.tool} has changed since it was called, or its server is not ready.",
                hint="Deny the call, so that it is made anew.",
            )
        return standing.prepare(found, clear or {}, terms, caller)

    return await standing.store.aside(check)


async def give(
    platform: Platform, prepared: PreparedStandingApproval, caller: Caller, *, via: str, note: str
) -> StandingApproval:
    """Keep what was prepared, once the yes itself counts; on the record before anybody hears of it."""
    standing = platform.policy.standing
    given = await standing.store.aside(standing.give, prepared, caller, via=via, note=note)
    event = "standing_given" if given.status == "active" else "standing_agreed"
    await platform.audit.write(given.tenant, records.approval(given.to_dict(), event, tenant=given.tenant))
    return given


async def active(platform: Platform, caller: Caller) -> list[StandingApproval]:
    """Those of the caller's tenant that can be used, or wait for further people."""
    standing = platform.policy.standing
    now = {tool.qualified: tool.definition_hash for tool in platform.registry.tools()}
    return await standing.store.aside(standing.active, caller.tenant, now)


async def revoke(platform: Platform, id: str, caller: Caller) -> StandingApproval:
    """End one at once.

    Raises:
        MisuseError: there is none of that id in force in the caller's tenant, or it is not theirs to end.
    """
    standing = platform.policy.standing
    ended = await standing.store.aside(standing.revoke, id, caller)
    await platform.audit.write(ended.tenant, records.approval(ended.to_dict(), "standing_revoked", tenant=ended.tenant))
    return ended
