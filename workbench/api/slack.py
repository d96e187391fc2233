"""What people click in Slack: the one route of the management API that a signature opens instead of a token."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from workbench.bench.platform import Platform
from workbench.policy.slack import MOST_BYTES, NotFromSlack


def slack_routes(api: FastAPI, platform: Platform) -> None:
    """Add `POST /slack/interactivity`; it answers 404 where Slack is not configured."""

    @api.post("/slack/interactivity", tags=["tools"])
    async def interactivity(request: Request) -> Response:
        """Clicks on cards in Slack. Slack's signature takes the place of a token."""
        if platform.slack is None:
            raise HTTPException(404, "Slack is not configured: set slack_channel")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                raise HTTPException(413, "too large for a click")
        try:
            await platform.slack.interact(body, request.headers)
        except NotFromSlack as e:
            return JSONResponse({"error": {"kind": "Unauthenticated", "message": str(e), "hint": ""}}, 401)
        return Response(status_code=200)
