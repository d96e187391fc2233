"""The inbox of approvals: what waits, deciding it, ending what nobody decided; every step is on the record."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from workbench.audit.format import records
from workbench.events import JSON, Caller, MisuseError, NotRecordedError, UnreachableError
from workbench.gateway.argument_validation import SchemaValidators
from workbench.gateway.refusals import say
from workbench.platform import standing_approval_admin
from workbench.policy import Approval
from workbench.policy.approvals.slack import VIA as SLACK
from workbench.policy.approvals.standing_approvals import StandingTerms

if TYPE_CHECKING:
    from workbench.platform.platform import Platform

EXPIRY_INTERVAL_S = 60.0
"""How often approvals that nobody decided or used in time are ended."""

_log = logging.getLogger(__name__)


class ApprovalInbox:
    """The approvals of one platform.

    Args:
        platform: its rules, tools, log, and the channel in Slack where there is one.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._policy = platform.policy
        self._registry = platform.registry
        self._audit = platform.audit

    async def pending(self, caller: Caller) -> list[Approval]:
        """What waits for a human in the caller's tenant; arguments in clear for who decides and may see them so."""
        desk = self._policy.approvals

        def read() -> list[Approval]:
            return [
                msgspec.structs.replace(each, arguments=desk.arguments(each.id, caller) or each.arguments)
                for each in desk.pending(caller.tenant)
            ]

        return await desk.store.aside(read)

    async def decide(
        self,
        approval: str,
        approve: bool,
        caller: Caller,
        *,
        via: str,
        note: str = "",
        arguments: JSON | None = None,
        seen: str = "",
        standing: StandingTerms | None = None,
    ) -> Approval:
        """Approve or deny one waiting call; a yes may change its arguments, or let the call be repeated.

        Args:
            approval: id of the request.
            approve: yes or no.
            caller: who decides.
            via: at which door.
            note: why, for the record.
            arguments: with a yes, what shall run instead of what was asked for.
            seen: `args_hash` of the arguments that they looked at.
            standing: with a yes, on which terms the caller may repeat the call.

        Raises:
            MisuseError: no such approval in the caller's tenant, it no longer waits, it is not theirs to decide, or the
                changed arguments do not fit the tool.
        """
        desk, write = self._policy.approvals, self._audit.write
        if arguments is not None:
            self._check_arguments(await desk.store.aside(desk.get, approval), arguments, caller)
        if standing is not None and not approve:
            raise MisuseError("A no lets nothing be repeated.", hint="Leave out the terms, or approve.")
        prepared = (
            None
            if standing is None
            else await standing_approval_admin.prepare(self._platform, approval, arguments, standing, caller)
        )
        decided = await desk.store.aside(
            desk.decide, approval, approve, caller, via=via, note=note, arguments=arguments, seen=seen
        )
        record = decided.to_dict()
        if approve and arguments is not None and decided.edited_by == caller.subject:
            await write(caller.tenant, records.approval(record, "edited", tenant=caller.tenant))
        event = "denied" if not approve else "agreed" if decided.status == "pending" else "approved"
        await write(caller.tenant, records.approval(record, event, tenant=caller.tenant))
        if prepared is not None:
            await standing_approval_admin.give(self._platform, prepared, caller, via=via, note=note)
        if self._platform.slack is not None:
            self._platform.slack.settle(decided)
        return decided

    def _check_arguments(self, approval: Approval | None, arguments: JSON, caller: Caller) -> None:
        """Changed arguments fit the tool as it was when the call was made."""
        if approval is None or approval.tenant != caller.tenant:
            return  # deciding it says so
        tool = next((tool for tool in self._registry.tools() if tool.qualified == approval.tool), None)
        if tool is None or tool.definition_hash != approval.definition_hash:
            raise MisuseError(
                f"{approval.tool} has changed since it was called.", hint="Deny the call, so that it is made anew."
            )
        if problems := SchemaValidators().problems(tool, arguments):
            raise MisuseError(say(tool, problems[0]))

    async def decide_in_slack(self, approval: str, approve: bool, caller: Caller) -> Approval:
        """`decide`, by a click in Slack."""
        return await self.decide(approval, approve, caller, via=SLACK)

    async def expire(self) -> int:
        """End approvals that nobody decided or used in time, each on the record; how many there were."""
        ended = await asyncio.to_thread(self._policy.approvals.expire)
        for approval in ended:
            await self._audit.write(
                approval.tenant, records.approval(approval.to_dict(), "expired", tenant=approval.tenant)
            )
            if self._platform.slack is not None:
                self._platform.slack.settle(approval)
        return len(ended)

    async def keep_expiring(self) -> None:
        """`expire`, once a minute."""
        while True:
            await asyncio.sleep(EXPIRY_INTERVAL_S)
            try:
                await self.expire()
            except NotRecordedError as e:
                # calls are refused meanwhile, so nothing can be done with what has ended unrecorded
                _log.warning("the end of an approval was not recorded: %s", e)
            except UnreachableError as e:
                _log.warning("approvals cannot be ended now: %s", e)
