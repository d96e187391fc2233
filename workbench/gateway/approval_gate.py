"""A human's yes to a destructive call: used up where it is there, asked for where it is not."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from workbench.audit.format import records
from workbench.background_tasks import BackgroundTasks
from workbench.events import JSON, Call, Decision, MisuseError, Tool, UnreachableError
from workbench.gateway.refusals import CallRefusedError, denied
from workbench.gateway.standing_approval_use import StandingUse
from workbench.policy.approvals.bound_params import passed_on
from workbench.policy.approvals.standing_approvals import StandingApproval
from workbench.upstream.client_responder import askable

if TYPE_CHECKING:
    from workbench.access import Access
    from workbench.audit import AuditLog
    from workbench.policy import Approval, Policy

T = TypeVar("T")

APPROVAL_KEY: Final = "workbench/approval"
"""Key of the question for an approval among those that a client is asked (`inputRequests`)."""

OPEN_TIMEOUT_S = 20.0
"""How long a client that opened the approval page is kept waiting for the decision, before it is asked again."""

CLOSE_TIMEOUT_S: Final = 5.0
"""Seconds in which what is being put on the record is waited for when the gateway closes."""


class ApprovedCall(NamedTuple):
    """A call that somebody has said yes to."""

    call: Call
    """With the arguments that were approved."""
    decision: Decision
    approval: Approval | StandingApproval

    def told(self, result: JSON, details: JSON) -> tuple[JSON, JSON]:
        """The result and its details, which name the approval and say what ran instead where that is another call."""
        approval = self.approval
        details = {**details, "approval_id": approval.id}
        if isinstance(approval, StandingApproval):
            return _with_meta(result, "workbench/standing_approval", approval.stated()), {
                **details,
                "standing": approval.stated(),
            }
        if not approval.edited_by:
            return result, details
        said = {"approval": approval.id, "edited_by": approval.edited_by, "arguments": approval.arguments}
        return _with_meta(result, "workbench/edited", said), {**details, "edited": said}


def _with_meta(result: JSON, key: str, said: JSON) -> JSON:
    meta = result.get("_meta")
    return {**result, "_meta": {**(meta if isinstance(meta, dict) else {}), key: said}}


class ApprovalGate:
    """Turns a decision that needs an approval into one that has it.

    Args:
        policy: keeps the approvals and decides.
        access: whether those who gave a standing approval still may.
        audit: every step of an approval is on the record.
    """

    def __init__(self, policy: Policy, access: Access, audit: AuditLog) -> None:
        self._policy = policy
        self._standing = StandingUse(policy, access, audit)
        self._audit = audit
        self._doing = BackgroundTasks("approvals")

    async def approved(self, call: Call, tool: Tool, decision: Decision) -> ApprovedCall:
        """The call and its decision with a live approval of exactly this call; without one, people are asked.

        Raises:
            CallRefusedError: there is no approval, or nobody can say now whether there is.
            NotRecordedError: the record cannot be written.
        """
        approvals = self._policy.approvals
        call, answer = answered(call)
        if answer in ("decline", "cancel"):
            told = f"The page on which {call.tool} could be approved was not opened. Nothing was done."
            raise CallRefusedError("denied", told, decision=decision, rule="approvals")
        approval: Approval | None = None
        try:
            key = approval_id(call) or approvals.binding(call, tool)
            taken = await self._whole(self._redeemed(key, call, tool))
            if taken is None and not approval_id(call):
                standing = await self._whole(self._standing.of(call, tool))
                if standing is not None:
                    return ApprovedCall(
                        passed_on(call, askable), await self._allowed(call, tool, standing.id), standing
                    )
            if taken is None:
                approval = await self._whole(self._requested(call, tool))
                if answer == "accept":  # the page is open, so somebody may be about to decide
                    approval = await approvals.wait(approval.id, OPEN_TIMEOUT_S) or approval
                    if approval.status == "denied":
                        told = f"{approval.decided_by} has denied this call. {approval.note}".rstrip()
                        raise CallRefusedError(
                            "denied", told, decision=decision, rule="approvals", approval=approval.id
                        )
                    taken = await self._whole(self._redeemed(key, call, tool))
            if taken is not None:
                used, arguments = taken
                call = passed_on(call, askable)  # what the approval is not bound to does not reach the tool
                if used.edited_by:
                    call = msgspec.structs.replace(call, arguments=arguments)
                return ApprovedCall(call, await self._allowed(call, tool, used.id), used)
        except MisuseError as e:
            raise CallRefusedError("denied", str(e), decision=decision, rule="approvals") from e
        except UnreachableError as e:
            raise CallRefusedError("unavailable", str(e), decision=decision, rule="approvals", retry_after=1) from e
        assert approval is not None
        message = (
            f"{decision.reason} Approval {approval.id} was asked for. Once it is granted (`workbench approvals`, or "
            "the Approvals page of the app), make exactly the same call again."
        )
        raise CallRefusedError(
            "approval_required", message, decision=decision, rule=decision.rule, approval=approval.id
        )

    async def _allowed(self, call: Call, tool: Tool, approval: str) -> Decision:
        """What the rules say of the call now that it is approved. Raises Refusal where they do not allow it."""
        decision = await self._policy.decide_async(call, tool, approved=True)
        if not decision.allow:
            refusal = denied(decision)
            refusal.details["approval_id"] = approval
            raise refusal
        return decision

    async def _redeemed(self, key: str, call: Call, tool: Tool) -> tuple[Approval, JSON] | None:
        """The approval of this call and the arguments to run, where there is one; it is used up then, on the record."""
        approvals, tenant = self._policy.approvals, call.caller.tenant
        taken = await approvals.store.aside(approvals.take, key, call, tool)
        if taken is not None:
            await self._audit.write(tenant, records.approval(taken[0].to_dict(), "used", tenant=tenant))
        return taken

    async def _requested(self, call: Call, tool: Tool) -> Approval:
        """The request for an approval of this call; a new one is on the record before anybody hears of it."""
        approvals, tenant = self._policy.approvals, call.caller.tenant
        needed = await self._policy.needed(call, tool)
        approval = await approvals.store.aside(approvals.request, call, tool, needed)
        if approval.call == call.id:
            await self._audit.write(tenant, records.approval(approval.to_dict(), "requested", tenant=tenant))
            for tell in approvals.on_request:
                tell(approval)
        return approval

    async def close(self) -> None:
        """Wait for what is being put on the record."""
        await self._doing.finish(CLOSE_TIMEOUT_S)

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Do all of `work`: a caller who leaves meanwhile keeps nothing off the record that happened elsewhere."""
        if self._policy.approvals.store.local:
            return await work
        return await self._doing.shielded(work)


def approval_id(call: Call) -> str:
    """The approval that the client names in `_meta`; empty when the gateway shall find the one for this very call."""
    named = (call.meta.get("_meta") or {}).get("workbench/approval")
    return named if isinstance(named, str) else ""


def answered(call: Call) -> tuple[Call, str]:
    """The call without the client's answer to that question, and the answer: `accept`, `decline`, `cancel`, or nothing.

    The server behind the tool did not ask, so it does not hear the answer.
    """
    responses = call.meta.get("inputResponses")
    if not isinstance(responses, dict) or APPROVAL_KEY not in responses:
        return call, ""
    answer, others = responses[APPROVAL_KEY], {key: value for key, value in responses.items() if key != APPROVAL_KEY}
    meta = {key: value for key, value in call.meta.items() if key != "inputResponses"}
    call = msgspec.structs.replace(call, meta={**meta, **({"inputResponses": others} if others else {})})
    return call, str(answer.get("action", "")) if isinstance(answer, dict) else ""
