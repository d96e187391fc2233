"""The record over HTTP: calls, SQL and exports, over the rows of the caller's tenant alone; and load runs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from workbench.api.request_bodies import LoadRequests, Statement
from workbench.api.route_helpers import answer, needs, unless_gone
from workbench.audit.query.export import MEDIA_TYPES, ExportFormat
from workbench.events import Caller
from workbench.platform.platform import Platform
from workbench.platform.record_access import RecordDesk

ARROW = "application/vnd.apache.arrow.stream"


def record_routes(platform: Platform) -> APIRouter:
    """Routes for the record."""
    router, desk = APIRouter(tags=["record"]), RecordDesk(platform)
    reads, loads = needs(platform, "audit:read"), needs(platform, "load:write")

    @router.get("/api/platform/audit")
    async def audit(
        userId: Annotated[str | None, Query(description="Only calls of this person.")] = None,
        from_: Annotated[str | None, Query(alias="from", description="ISO 8601 time, inclusive.")] = None,
        to: Annotated[str | None, Query(description="ISO 8601 time, exclusive.")] = None,
        limit: Annotated[int, Query(ge=1, le=10_000, description="Most calls.")] = 100,
        caller: Caller = reads,
    ) -> Response:
        """Calls of the caller's tenant, newest first."""
        return answer({"calls": await desk.calls(caller, user=userId, since=from_, until=to, limit=limit)})

    @router.post("/api/platform/load-requests", status_code=201)
    async def load_requests(body: LoadRequests, caller: Caller = loads) -> Response:
        """Record some of the requests of a load run that is under way."""
        await platform.record_load_requests(body.run, body.requests, caller)
        return answer({"recorded": len(body.requests)}, 201)

    @router.post("/api/platform/load-runs", status_code=201)
    async def load_run(body: LoadRequests, caller: Caller = loads) -> Response:
        """Record a load run that has ended, with its last requests."""
        await platform.record_load(body.run, body.requests, caller)
        return answer({"recorded": body.run["id"]}, 201)

    @router.post("/api/platform/sql", response_class=Response)
    async def sql(body: Statement, request: Request, caller: Caller = reads) -> Response:
        """Run one SELECT over your tenant's rows.

        The answer is JSON, or an Arrow stream with `Accept: application/vnd.apache.arrow.stream`.
        """
        arrow = ARROW in request.headers.get("accept", "")
        found = desk.sql(
            caller,
            body.sql,
            body.parameters,
            max_rows=body.max_rows,
            timeout_s=body.timeout_s,
            form="arrow" if arrow else "json",
            fleet=body.fleet,
        )
        return Response(await unless_gone(request, found), media_type=ARROW if arrow else "application/json")

    @router.get("/api/platform/audit/export", response_class=StreamingResponse)
    async def export(
        table: Annotated[str, Query(description="`calls`, or a table of the record.")] = "calls",
        format: ExportFormat = "csv",
        from_: Annotated[str | None, Query(alias="from", description="ISO 8601 time, inclusive.")] = None,
        to: Annotated[str | None, Query(description="ISO 8601 time, exclusive.")] = None,
        caller: Caller = reads,
    ) -> Response:
        """Export one table, with the rows of your tenant, as a file. Days are in order, rows within a day are not."""
        chunks = desk.export(caller, table=table, format=format, since=from_, until=to)
        first = await anext(chunks, b"")  # what is wrong with the request shows before the status line is sent

        async def body() -> Any:
            try:
                yield first
                async for chunk in chunks:
                    yield chunk
            finally:
                await chunks.aclose()  # type: ignore[attr-defined]

        headers = {"Content-Disposition": f'attachment; filename="{table}.{format}"', "Cache-Control": "no-store"}
        return StreamingResponse(body(), media_type=MEDIA_TYPES[format], headers=headers)

    return router
