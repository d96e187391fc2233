"""Routes for tools: finding them, calling them, and deciding on calls that wait for a human."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from workbench.api.error_responses import resource
from workbench.api.request_bodies import ToolCall, Verdict
from workbench.api.route_helpers import SOURCE, answer, needs, unless_gone
from workbench.endpoint.http.auth_challenge import challenge
from workbench.events import Call, Caller, Outcome, OutcomeKind, Source, new_trace_id
from workbench.gateway.refusals import rate_headers
from workbench.platform import standing_approval_admin
from workbench.platform.platform import Platform
from workbench.platform.profile_listing import listed
from workbench.policy.approvals.standing_approvals import StandingTerms

OUTCOME_STATUSES: dict[OutcomeKind, int] = {
    "ok": 200, "tool_error": 200, "invalid": 422, "not_found": 404, "denied": 403, "approval_required": 202,
    "throttled": 429, "timeout": 504, "unavailable": 503, "cancelled": 499, "failed": 502,
}  # fmt: skip
"""The HTTP status of each outcome."""


def tool_routes(platform: Platform) -> APIRouter:
    """Routes for tools and approvals."""
    router = APIRouter(tags=["tools"])
    anyone, decides = needs(platform), needs(platform, "approvals:decide")

    @router.get("/api/platform/tools")
    async def tools(
        q: Annotated[str, Query(description="Words to search for; default all tools.")] = "",
        limit: Annotated[int, Query(ge=1, le=1000, description="Most matches of a search.")] = 50,
        profile: Annotated[str, Query(description="Only the tools of this profile.")] = "",
        caller: Caller = anyone,
    ) -> Response:
        """The tools that you may call, or the best matches for `q`."""
        await platform.gateway.judge(caller)
        return answer({"tools": platform.tools(caller, q, limit, profile)})

    @router.get("/api/platform/profiles")
    async def profiles(caller: Caller = anyone) -> Response:
        """Named selections of servers and tools, each with the path of its MCP endpoint."""
        await platform.gateway.judge(caller)
        return answer(listed(platform.gateway, caller))

    @router.post("/api/platform/call")
    async def call(body: ToolCall, request: Request, caller: Caller = anyone, source: Source = SOURCE) -> Response:
        """Call one tool. The answer is an outcome, also when the tool failed or the call was refused."""
        made = Call(
            caller=caller, tool=body.tool, arguments=body.arguments, source=source, timeout_s=body.timeout_s,
            trace_id=body.trace_id or new_trace_id(), profile=body.profile,
        )  # fmt: skip
        outcome = await unless_gone(request, platform.call(made))
        return answer(outcome, OUTCOME_STATUSES[outcome.kind], _outcome_headers(outcome, resource(platform)))

    @router.get("/api/platform/approvals")
    async def approvals(caller: Caller = decides) -> Response:
        """Calls of your tenant that wait for a person's decision."""
        return answer({"approvals": await platform.approvals(caller)})

    @router.post("/api/platform/approvals/{approval}")
    async def decide(approval: str, body: Verdict, caller: Caller = decides, source: Source = SOURCE) -> Response:
        """Approve or deny one waiting call. An approval may change its arguments, or let its caller repeat it."""
        terms = None if body.standing is None else StandingTerms(**body.standing.model_dump())
        decided = platform.decide(
            approval, body.approve, caller, via=source, note=body.note, arguments=body.arguments, seen=body.args_hash,
            standing=terms,
        )  # fmt: skip
        return answer(await decided)

    @router.get("/api/platform/standing-approvals")
    async def standing_approvals(caller: Caller = decides) -> Response:
        """Calls of your tenant that may be repeated without asking, with the uses and the time that are left."""
        return answer({"standing_approvals": await standing_approval_admin.active(platform, caller)})

    @router.delete("/api/platform/standing-approvals/{standing}")
    async def revoke(standing: str, caller: Caller = decides) -> Response:
        """End a standing approval at once."""
        return answer(await standing_approval_admin.revoke(platform, standing, caller))

    return router


def _outcome_headers(outcome: Outcome, resource: str) -> dict[str, str]:
    if outcome.kind == "throttled":
        return rate_headers(outcome.details)
    missing = outcome.details.get("missing_scopes")
    return {"WWW-Authenticate": challenge(scope=" ".join(missing), resource=resource)} if missing else {}
