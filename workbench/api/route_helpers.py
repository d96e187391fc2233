"""Who asks, and how a route answers: what all routes share."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
import orjson
from fastapi import Depends, Header, Request, Security
from fastapi.responses import Response
from fastapi.security import HTTPBearer

from workbench.api.error_responses import CALLER, ForbiddenError
from workbench.events import Caller, Source
from workbench.gateway.results.outbound_redaction import enter
from workbench.platform.platform import Platform

_BEARER: Any = Security(
    HTTPBearer(
        auto_error=False,
        scheme_name="bearer",
        description="A key or an access token. A workload may show its X.509-SVID instead. The names are scopes.",
    )
)
"""Puts the credential and the scopes into the OpenAPI document; what it reads of a request is not used."""

_SOURCES: tuple[Source, ...] = ("rest", "cli", "notebook", "app", "load")


def needs(platform: Platform, scope: str | None = None) -> Any:
    """A dependency: the caller, who must hold `scope`."""

    async def caller(request: Request, _: Any = _BEARER) -> Caller:
        found: Caller | None = request.scope.get(CALLER)
        if found is None:
            found = await platform.authenticate(request.headers.getlist("authorization"), request.scope)
        if scope is not None and not found.has(scope):
            raise ForbiddenError(scope)
        request.state.caller = found
        enter(platform.policy, found.tenant)
        return found

    return Security(caller, scopes=[scope] if scope else [])


def _source(x_workbench_source: Annotated[str | None, Header()] = None) -> Source:
    return next((s for s in _SOURCES if s == x_workbench_source), "rest")


SOURCE: Any = Depends(_source)
"""A dependency: the door that the request names, for the record."""


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`value` as JSON."""
    body = orjson.dumps(msgspec.to_builtins(value))
    return Response(body, status, media_type="application/json", headers=headers)


async def unless_gone(request: Request, work: Any) -> Any:
    """Await `work`, cancelled when the client disconnects."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watcher = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
        return await task
    finally:
        task.cancel()
        watcher.cancel()
