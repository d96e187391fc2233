"""The record over HTTP: one SQL statement, or an export; both only over the rows of the caller's tenant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field

from workbench.audit.export import MEDIA_TYPES, ExportFormat
from workbench.bench.platform import Platform
from workbench.bench.record import RecordDesk
from workbench.events import Caller

ARROW = "application/vnd.apache.arrow.stream"


class Statement(BaseModel):
    """One reading statement over the tables of the record."""

    sql: str = Field(
        min_length=1, max_length=100_000, examples=["select tool, count(*) as n from tool_calls group by tool"]
    )
    parameters: list[Any] | dict[str, Any] | None = Field(default=None, description="For `?` or `$name`.")
    max_rows: int = Field(default=10_000, ge=1, le=1_000_000, description="The answer is cut after so many rows.")
    timeout_s: float = Field(default=30.0, gt=0, le=300, description="Seconds until the statement is stopped.")


def record_routes(
    platform: Platform, needs: Callable[[Platform, str], Any], unless_gone: Callable[[Request, Any], Awaitable[Any]]
) -> APIRouter:
    """The routes, to be included in the management API.

    Args:
        needs: gives the dependency that yields the caller who holds a scope.
        unless_gone: awaits work that is cancelled when the client disconnects.
    """
    router, desk = APIRouter(tags=["record"]), RecordDesk(platform)
    reads = needs(platform, "audit:read")

    @router.post("/api/platform/sql", response_class=Response)
    async def sql(body: Statement, request: Request, caller: Caller = reads) -> Response:
        """Run one SELECT over your tenant's rows. JSON, or an Arrow stream with `Accept: …arrow.stream`."""
        arrow = ARROW in request.headers.get("accept", "")
        answer = desk.sql(
            caller,
            body.sql,
            body.parameters,
            max_rows=body.max_rows,
            timeout_s=body.timeout_s,
            form="arrow" if arrow else "json",
        )
        return Response(await unless_gone(request, answer), media_type=ARROW if arrow else "application/json")

    @router.get("/api/platform/audit/export", response_class=StreamingResponse)
    async def export(
        table: Annotated[str, Query(description="`calls`, or a table of the record.")] = "calls",
        format: ExportFormat = "csv",
        from_: Annotated[str | None, Query(alias="from", description="ISO 8601 time, inclusive.")] = None,
        to: Annotated[str | None, Query(description="ISO 8601 time, exclusive.")] = None,
        caller: Caller = reads,
    ) -> Response:
        """One table of your tenant, as a file. Days are in order, rows within a day are not."""
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
