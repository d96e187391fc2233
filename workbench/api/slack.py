"""What people click in Slack: the one route of the management API that a signature opens instead of a token."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from workbench.platform.platform import Platform
from workbench.policy.approvals.slack import MAX_BYTES, SlackSignatureError

BODY_TIMEOUT_S: Final = 10.0
"""Seconds in which a click has to arrive."""


def slack_routes(api: FastAPI, platform: Platform) -> None:
    """Add `POST /slack/interactivity`; it answers 404 where Slack is not configured."""

    @api.post("/slack/interactivity", tags=["tools"])
    async def interactivity(request: Request) -> Response:
        """Called by Slack when somebody clicks on a card; authenticated by Slack's signature. 404 without Slack."""
        if platform.slack is None:
            raise HTTPException(404, "Slack is not configured: set slack_channel")
        if not request.headers.get("x-slack-signature"):  # nothing of such a body could count
            return _refused("The request is not signed.")
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > MAX_BYTES:
            raise HTTPException(413, "too large for a click")
        body = b""
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise HTTPException(413, "too large for a click")
        except TimeoutError:
            raise HTTPException(408, "the body did not arrive in time") from None
        try:
            await platform.slack.interact(body, request.headers)
        except SlackSignatureError as e:
            return _refused(str(e))
        return Response(status_code=200)


def _refused(why: str) -> Response:
    return JSONResponse({"error": {"kind": "Unauthenticated", "message": why, "hint": ""}}, 401)
