"""The management API: REST over the same rooms, with the same tokens and rules as everything else.

Documented at `/docs` from the generated OpenAPI document. Holds no logic of its own: a route turns a request into a
method of `Platform` and the answer into JSON. Every error body is `{"error": {"kind", "message", "hint", …}}`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import orjson
from fastapi import Depends, FastAPI, Header, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from fastapi_swagger import patch_fastapi
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

import workbench
from workbench.bench.platform import Platform
from workbench.bodies import LoadRequests, Question, Registration, ToolCall, Verdict
from workbench.events import (
    JSON,
    Call,
    Caller,
    Misuse,
    NotRecorded,
    Outcome,
    OutcomeKind,
    Source,
    Unauthenticated,
    Unreachable,
    WorkbenchError,
    new_trace_id,
)
from workbench.gateway import McpEndpoint, challenge
from workbench.gateway.refusals import rate_headers
from workbench.gateway.senders import Senders
from workbench.gateway.websocket import WebSocketDoor
from workbench.interactivity import slack_routes
from workbench.record_api import record_routes

if TYPE_CHECKING:
    from workbench.access.oauth import AuthorizationServer

_STATUS: dict[OutcomeKind, int] = {
    "ok": 200, "tool_error": 200, "invalid": 422, "not_found": 404, "denied": 403, "approval_required": 202,
    "throttled": 429, "timeout": 504, "unavailable": 503, "cancelled": 499, "failed": 502,
}  # fmt: skip
_SOURCES: tuple[Source, ...] = ("rest", "cli", "notebook", "app", "load")


class Denied(WorkbenchError):
    """The caller is known but lacks a scope."""

    exit_code = 7

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"Scope {scope!r} is needed.", hint="Use a key whose role grants it: `workbench access roles`."
        )
        self.scope = scope


ASGI = Callable[[Any, Any, Any], Awaitable[None]]

_MCP_PATHS = re.compile(r"/mcp|/servers/[^/]+/mcp|/\.well-known/oauth-protected-resource(/.*)?")


def build_app(platform: Platform) -> ASGI:
    """Everything that is served on the gateway's port, as one ASGI application.

    MCP is dispatched before any framework router: it is the hot path. All other paths are the management API, behind
    the same checks of Host and Origin.
    """
    endpoint, api = McpEndpoint(platform.gateway), build_api(platform)
    senders = Senders(platform.settings)
    issuing = _authorization_server(platform)

    sockets = WebSocketDoor(endpoint, platform.registry)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await sockets(scope, receive, send)
            return
        if _MCP_PATHS.fullmatch(scope["path"]):
            await endpoint(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = senders.refusal(headers.get("host"), headers.get("origin"))
        if refused is None and issuing is not None and issuing.answers(scope["path"]):
            await issuing(scope, receive, send)
        elif refused is None:
            await api(scope, receive, send)
        else:
            await _error("Misuse", refused[1], "", refused[0])(scope, receive, send)

    return app


def _authorization_server(platform: Platform) -> AuthorizationServer | None:
    """The OAuth server of this gateway, where the setting `oauth_server` asks for one and our URL is known."""
    if platform.access.issuer is None:
        return None
    from workbench.access.oauth import AuthorizationServer

    return AuthorizationServer(platform.access, scopes=platform.scopes, record=platform.record_access)


def build_api(platform: Platform) -> FastAPI:
    """The management API over one platform, as an ASGI application."""
    api = FastAPI(
        title="MCP Workbench",
        version=workbench.__version__,
        description="Servers, tools, questions and the record. Authenticate with `Authorization: Bearer <token>`.",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    _handle_errors(api, platform)
    patch_fastapi(api, redirect_from_root_to_docs=False)  # Swagger UI from the wheel, not from a network
    _probes(api, platform)
    _servers(api, platform)
    _tools(api, platform)
    slack_routes(api, platform)
    _runs(api, platform)
    _record(api, platform)
    api.include_router(record_routes(platform, _needs, _unless_gone))
    return api


# --- who is calling ----------------------------------------------------------


def _needs(platform: Platform, scope: str | None = None) -> Any:
    """A dependency: the caller, who must hold `scope`."""

    async def caller(request: Request) -> Caller:
        found = await platform.authenticate(request.headers.getlist("authorization"))
        if scope is not None and not found.has(scope):
            raise Denied(scope)
        return found

    return Depends(caller)


def _source(x_workbench_source: Annotated[str | None, Header()] = None) -> Source:
    return next((s for s in _SOURCES if s == x_workbench_source), "rest")


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = orjson.dumps(msgspec.to_builtins(value))
    return Response(body, status, media_type="application/json", headers=headers)


def _handle_errors(api: FastAPI, platform: Platform) -> None:
    resource = _resource(platform)
    statuses: dict[type[WorkbenchError], int] = {
        Misuse: 400, Unauthenticated: 401, Denied: 403, Unreachable: 503, NotRecorded: 503, WorkbenchError: 400,
    }  # fmt: skip

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, WorkbenchError)
        status = next(s for kind, s in statuses.items() if isinstance(error, kind))
        headers = {}
        if isinstance(error, Unauthenticated):
            presented = "authorization" in request.headers
            headers["WWW-Authenticate"] = challenge(error, resource=resource, presented=presented)
        elif isinstance(error, Denied):
            headers["WWW-Authenticate"] = challenge(error, scope=error.scope, resource=resource)
        elif status == 503:
            headers["Retry-After"] = "1"
        return _error(type(error).__name__, str(error.args[0]), error.hint, status, headers)

    async def invalid(request: Request, error: Exception) -> Response:
        first = error.errors()[0]  # type: ignore[attr-defined]
        path = ".".join(str(p) for p in first["loc"])
        return _error("Misuse", f"{path}: {first['msg']}, given {str(first.get('input'))[:200]!r}.", "See /docs.", 422)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _error(
            "Misuse", f"{request.method} {request.url.path}: {error.detail}.", "See /docs.", error.status_code
        )

    from fastapi.exceptions import RequestValidationError

    api.add_exception_handler(WorkbenchError, known)
    api.add_exception_handler(RequestValidationError, invalid)
    api.add_exception_handler(HTTPException, http)


def _resource(platform: Platform) -> str:
    """The URL whose metadata tell where to get tokens; empty while it is not known."""
    origin = platform.access.resources.origin
    return f"{origin}/mcp" if origin else ""


def _error(kind: str, message: str, hint: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"kind": kind, "message": message, "hint": hint}}, status, headers)


# --- routes ------------------------------------------------------------------


def _probes(api: FastAPI, platform: Platform) -> None:
    @api.get("/health", tags=["platform"])
    def health() -> Response:
        """Whether calls can be answered. Open to everyone; says nothing about what is behind."""
        ok = not platform.audit.failed
        return _json({"status": "ok" if ok else "failing", "version": workbench.__version__}, 200 if ok else 503)

    @api.get("/status", tags=["platform"])
    def status(caller: Caller = _needs(platform, "servers:read")) -> Response:
        """Version, servers, log and runs."""
        return _json(platform.status())

    @api.get("/metrics", tags=["platform"], response_class=PlainTextResponse)
    def metrics(caller: Caller = _needs(platform, "metrics:read")) -> Response:
        """Counters and histograms for Prometheus."""
        from prometheus_client import CONTENT_TYPE_LATEST

        return Response(platform.metrics(), media_type=CONTENT_TYPE_LATEST)


def _servers(api: FastAPI, platform: Platform) -> None:
    @api.get("/servers", tags=["registry"])
    @api.get("/api/platform/servers", tags=["registry"])
    def servers(caller: Caller = _needs(platform, "servers:read")) -> Response:
        """All servers with their health."""
        return _json({"servers": platform.servers()})

    @api.post("/servers", tags=["registry"], status_code=201)
    async def register(server: Registration, caller: Caller = _needs(platform, "servers:manage")) -> Response:
        """Register a server that is reached over HTTP."""
        return _json(await platform.register(server.model_dump(), caller), 201)

    @api.delete("/servers/{server}", tags=["registry"])
    async def remove(server: str, caller: Caller = _needs(platform, "servers:manage")) -> Response:
        """Remove a registered server."""
        await platform.unregister(server, caller)
        return _json({"removed": server})

    @api.post("/api/platform/servers/{server}/restart", tags=["registry"])
    async def restart(server: str, caller: Caller = _needs(platform, "servers:manage")) -> Response:
        """Restart a server that was launched here."""
        await platform.restart(server, caller)
        return _json({"restarted": server})


def _tools(api: FastAPI, platform: Platform) -> None:
    @api.get("/api/platform/tools", tags=["tools"])
    def tools(
        q: str = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        caller: Caller = _needs(platform),
    ) -> Response:
        """The tools the caller may call, or the best matches for `q`."""
        return _json({"tools": platform.tools(caller, q, limit)})

    @api.post("/api/platform/call", tags=["tools"])
    async def call(
        body: ToolCall, request: Request, caller: Caller = _needs(platform), source: Source = Depends(_source)
    ) -> Response:
        """Call one tool. The answer is an outcome; a tool's own failure is an outcome too."""
        made = Call(
            caller=caller, tool=body.tool, arguments=body.arguments, source=source, timeout_s=body.timeout_s,
            trace_id=body.trace_id or new_trace_id(),
        )  # fmt: skip
        outcome = await _unless_gone(request, platform.call(made))
        return _json(outcome, _STATUS[outcome.kind], _outcome_headers(outcome, _resource(platform)))

    @api.get("/api/platform/approvals", tags=["tools"])
    def approvals(caller: Caller = _needs(platform, "approvals:decide")) -> Response:
        """Calls of the caller's tenant that wait for a human."""
        return _json({"approvals": platform.policy.approvals.pending(caller.tenant)})

    @api.post("/api/platform/approvals/{approval}", tags=["tools"])
    async def decide(
        approval: str,
        body: Verdict,
        caller: Caller = _needs(platform, "approvals:decide"),
        source: Source = Depends(_source),
    ) -> Response:
        """Approve or deny exactly this call."""
        return _json(await platform.decide(approval, body.approve, caller, via=source, note=body.note))


def _outcome_headers(outcome: Outcome, resource: str) -> dict[str, str]:
    if outcome.kind == "throttled":
        return rate_headers(outcome.details)
    missing = outcome.details.get("missing_scopes")
    return {"WWW-Authenticate": challenge(scope=" ".join(missing), resource=resource)} if missing else {}


async def _unless_gone(request: Request, work: Any) -> Any:
    """Await `work`, cancelled when the client disconnects."""
    import asyncio

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


def _runs(api: FastAPI, platform: Platform) -> None:
    @api.get("/api/platform/providers", tags=["questions"])
    def providers(caller: Caller = _needs(platform)) -> Response:
        """Who can answer questions here, and why or why not."""
        return _json({"providers": platform.providers()})

    @api.post("/api/platform/query", tags=["questions"])
    async def query(
        body: Question, request: Request, caller: Caller = _needs(platform), source: Source = Depends(_source)
    ) -> Response:
        """Answer a question with tools; as one document, or as a stream of events. Disconnecting cancels the run."""
        history = [t.model_dump() for t in body.history]
        make: Callable[[], AsyncIterator[Any]] = lambda: platform.ask(  # noqa: E731
            body.question, caller, provider=body.provider, model=body.model, history=history, source=source
        )
        if body.stream or "text/event-stream" in request.headers.get("accept", ""):
            headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
            return StreamingResponse(_event_stream(make()), media_type="text/event-stream", headers=headers)
        events = await _unless_gone(request, _collect(make()))
        done = events[-1]
        return _json(
            {"run": done.run, "status": done.status, "answer": done.answer, "message": done.message, "events": events}
        )

    @api.post("/api/platform/runs/{run}/cancel", tags=["questions"])
    def cancel(run: str, caller: Caller = _needs(platform)) -> Response:
        """Stop a run of the caller's tenant."""
        return _json({"cancelled": platform.cancel(run, caller)})


async def _collect(events: AsyncIterator[Any]) -> list[Any]:
    async with aclosing(events) as stream:  # type: ignore[type-var]
        return [event async for event in stream]


async def _event_stream(events: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    async with aclosing(events) as stream:  # type: ignore[type-var]
        try:
            async for event in stream:
                yield b"data: " + msgspec.json.encode(event) + b"\n\n"
        except WorkbenchError as e:  # the status line has been sent: the error travels as the last event
            error: JSON = {"error": {"kind": type(e).__name__, "message": str(e.args[0]), "hint": e.hint}}
            yield b"data: " + orjson.dumps(error) + b"\n\n"


def _record(api: FastAPI, platform: Platform) -> None:
    @api.get("/api/platform/audit", tags=["record"])
    async def audit(
        userId: str | None = None,
        from_: Annotated[str | None, Query(alias="from", description="ISO 8601 time, inclusive.")] = None,
        to: Annotated[str | None, Query(description="ISO 8601 time, exclusive.")] = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
        caller: Caller = _needs(platform, "audit:read"),
    ) -> Response:
        """Calls of the caller's tenant, newest first."""
        return _json({"calls": await platform.audit_rows(caller, user=userId, since=from_, until=to, limit=limit)})

    @api.post("/api/platform/load-requests", tags=["record"], status_code=201)
    async def load_requests(body: LoadRequests, caller: Caller = _needs(platform, "load:write")) -> Response:
        """Put a portion of a load run's requests on the record."""
        await platform.record_load_requests(body.run, body.requests, caller)
        return _json({"recorded": len(body.requests)}, 201)

    @api.post("/api/platform/load-runs", tags=["record"], status_code=201)
    async def load_run(body: LoadRequests, caller: Caller = _needs(platform, "load:write")) -> Response:
        """Put a load run on the record."""
        await platform.record_load(body.run, body.requests, caller)
        return _json({"recorded": body.run["id"]}, 201)
