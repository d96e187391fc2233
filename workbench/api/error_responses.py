"""How the management API says that something went wrong: one form of body for every kind of error."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from workbench.access.failed_credentials import TooManyFailuresError
from workbench.endpoint.http.auth_challenge import challenge
from workbench.events import (
    JSON,
    MisuseError,
    NotRecordedError,
    UnauthenticatedError,
    UnreachableError,
    WorkbenchError,
    new_id,
)
from workbench.gateway.results.outbound_redaction import in_error
from workbench.platform.platform import Platform

ASGI = Callable[[Any, Any, Any], Awaitable[None]]

STATUSES: Final[dict[type[WorkbenchError], int]] = {
    MisuseError: 400, UnauthenticatedError: 401, UnreachableError: 503, NotRecordedError: 503,
}  # fmt: skip
FAULT: Final = "workbench.fault"
"""Key of the ASGI scope: the id of the fault that was logged and answered."""

CALLER: Final = "workbench.caller"
"""Key of the ASGI scope: who was found before the body was read."""

_log = logging.getLogger(__name__)


class ForbiddenError(WorkbenchError):
    """The caller is known but lacks a scope."""

    error_kind = "Denied"
    exit_code = 7

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"Scope {scope!r} is needed.", hint="Use a key whose role grants it: `workbench access roles`."
        )
        self.scope = scope


class NotFoundError(WorkbenchError):
    """The path names something that is not there."""

    error_kind = "Unknown"


def error(kind: str, message: str, hint: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """The answer for one error."""
    return JSONResponse(body_of(kind, message, hint), status, headers)


def body_of(kind: str, message: str, hint: str, **more: Any) -> JSON:
    """One error as every body and every event of a stream says it."""
    message, hint = in_error([_encodable(message), hint])
    return {"error": {"kind": kind, "message": message, "hint": hint, **more}}


def known(platform: Platform, request: Request, e: WorkbenchError) -> Response:
    """The answer for an error that the user can mend."""
    status = next((s for kind, s in STATUSES.items() if isinstance(e, kind)), 400)
    headers = {}
    if isinstance(e, TooManyFailuresError):
        status, headers["Retry-After"] = 429, str(e.retry_after)
    elif isinstance(e, UnauthenticatedError):
        presented = "authorization" in request.headers
        headers["WWW-Authenticate"] = challenge(e, resource=resource(platform), presented=presented)
    elif isinstance(e, ForbiddenError):
        status, headers["WWW-Authenticate"] = 403, challenge(scope=e.scope, resource=resource(platform), error=e)
    elif isinstance(e, NotFoundError):
        return error(MisuseError.error_kind, str(e.args[0]), e.hint, 404)
    elif status == 503:
        headers["Retry-After"] = "1"
    return error(e.error_kind, str(e.args[0]), e.hint, status, headers)


def fault(e: BaseException, where: str) -> JSON:
    """Log an error that nobody foresaw, with its traceback, and give the body that refers to it."""
    id = new_id()
    _log.error("fault %s in %s", id, where, exc_info=e)
    return body_of(
        "Bug",
        f"A fault of the platform, not of the request: {type(e).__name__} (id {id}).",
        "The traceback is in what `workbench up` writes to standard error, under this id; please report it.",
        id=id,
    )


def resource(platform: Platform) -> str:
    """The URL whose metadata tell where to get tokens; empty while it is not known."""
    origin = platform.access.resources.origin
    return f"{origin}/mcp" if origin else ""


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
