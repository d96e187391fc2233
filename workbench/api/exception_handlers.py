"""Every error of a route, answered in the one form."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from workbench.api.body_reader import record_refused
from workbench.api.error_responses import FAULT, error, fault, known
from workbench.events import NotRecordedError, WorkbenchError
from workbench.platform.platform import Platform


def handle_errors(api: FastAPI, platform: Platform) -> None:
    """Have every error answered in the one form."""

    async def foreseen(request: Request, e: Exception) -> Response:
        assert isinstance(e, WorkbenchError)
        return known(platform, request, e)

    async def invalid(request: Request, e: Exception) -> Response:
        first = e.errors()[0]  # type: ignore[attr-defined]
        path = ".".join(str(p) for p in first["loc"])
        message = f"{path}: {first['msg']}, given {str(first.get('input'))[:200]!r}."
        caller = getattr(request.state, "caller", None)
        if caller is not None:
            try:
                await record_refused(platform, request, e.body, caller, message)  # type: ignore[attr-defined]
            except NotRecordedError as unwritten:
                return known(platform, request, unwritten)
        return error("Misuse", message, "See /docs.", 422)

    async def http(request: Request, e: Exception) -> Response:
        assert isinstance(e, HTTPException)
        return error("Misuse", f"{request.method} {request.url.path}: {e.detail}.", "See /docs.", e.status_code)

    async def unforeseen(request: Request, e: Exception) -> Response:
        body = fault(e, f"{request.method} {request.url.path}")
        request.scope[FAULT] = body["error"]["id"]
        return JSONResponse(body, 500)

    api.add_exception_handler(WorkbenchError, foreseen)
    api.add_exception_handler(RequestValidationError, invalid)
    api.add_exception_handler(HTTPException, http)
    api.add_exception_handler(Exception, unforeseen)
