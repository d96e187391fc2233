"""A workbench attached to a platform that already runs, over its management API."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, get_type_hints
from urllib.parse import quote

import msgspec
import orjson

from workbench.client.backend import Backend
from workbench.events import (
    JSON,
    AnyRunEvent,
    InternalError,
    MisuseError,
    NotRecordedError,
    Record,
    Source,
    UnauthenticatedError,
    UnreachableError,
    WorkbenchError,
    run_event,
)
from workbench.platform.load_run import batches
from workbench.platform.run_file import RunningPlatform

if TYPE_CHECKING:
    import aiohttp
    import pyarrow as pa

P = ParamSpec("P")
T = TypeVar("T")
Progress = Callable[[int, int], object]


class MissingScopeError(WorkbenchError):
    """The token is good, but lacks a scope."""

    error_kind = "Denied"
    exit_code = 7


_ERRORS: dict[str, type[WorkbenchError]] = {
    e.error_kind: e
    for e in (
        WorkbenchError,
        InternalError,
        MisuseError,
        MissingScopeError,
        UnauthenticatedError,
        UnreachableError,
        NotRecordedError,
    )
} | {"Refused": MisuseError}  # a decision on an approval that may not be made
_ARROW = "application/vnd.apache.arrow.stream"
_QUEUE_TIMEOUT_S = 60.0
"""Seconds that a statement may wait for others before it runs."""

_LINE = 64 << 20  # one event may hold a whole tool result


IN_FLIGHT: Final = (
    'A call in flight may or may not have run. The record tells only where the setting audit_mode is "strict": it has '
    "each call before its server does then (`workbench questions unfinished_calls`)."
)


def _request_for(
    verb: Callable[Concatenate[Backend, P], Coroutine[Any, Any, T]],
    method: str,
    path: str,
    *,
    field: str = "",
    timeout_s: float | None = None,
) -> Callable[Concatenate[AttachedBackend, P], Coroutine[Any, Any, T]]:
    """A method of `AttachedBackend` that answers `verb` with one request.

    Arguments fill the `{names}` of `path`; the others are sent as a JSON object, or as the query of a GET. The answer
    is converted to the type that `verb` returns.

    Args:
        verb: its declaration, which gives the signature.
        method: HTTP method.
        path: of the route.
        field: part of the answer that is returned; default all of it.
        timeout_s: seconds to wait for the answer; default as long as it takes.
    """
    signature, returned = inspect.signature(verb), get_type_hints(verb)["return"]

    async def request(self: AttachedBackend, /, *args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        given = {k: v.to_dict() if isinstance(v, Record) else v for k, v in bound.arguments.items() if k != "self"}
        filled = path.format_map({name: quote(str(value), safe="") for name, value in given.items()})
        fields = {name: value for name, value in given.items() if f"{{{name}}}" not in path}
        if method == "GET":
            found = await self._request(method, filled, query=fields, timeout_s=timeout_s)
        else:
            found = await self._request(method, filled, fields or None, timeout_s=timeout_s)
        if returned is type(None):
            return None  # type: ignore[return-value]
        return msgspec.convert(found[field] if field else found, returned)  # type: ignore[no-any-return]

    functools.update_wrapper(request, verb)
    return request


class AttachedBackend:
    """The verbs of `Backend` as requests to the management API; most are one row with their route."""

    def __init__(self, running: RunningPlatform, source: Source) -> None:
        self.running = running
        self.source = source
        self.where = f"attached to {running.url}" + ("" if running.elsewhere else f" (process {running.pid})")
        self._session: aiohttp.ClientSession | None = None

    def _client(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            headers: dict[str, str] = {"X-Workbench-Source": self.source}
            if self.running.token:
                headers["Authorization"] = f"Bearer {self.running.token}"
            self._session = aiohttp.ClientSession(
                headers=headers, timeout=aiohttp.ClientTimeout(total=None, sock_connect=5), read_bufsize=_LINE
            )
        return self._session

    async def _request(
        self, method: str, path: str, body: JSON | None = None, query: JSON | None = None, *,
        timeout_s: float | None = None,
    ) -> Any:  # fmt: skip
        """The document that a route answers with."""
        async with self._response(method, path, body, query, timeout_s=timeout_s) as response:
            found = _document(response.status, await response.read())
            if response.status >= 400 and "error" in found:
                raise _error(found["error"], self.running.url)
            return found

    @contextlib.asynccontextmanager
    async def _stream(
        self, method: str, path: str, body: JSON | None = None, query: JSON | None = None, *,
        accept: str = "*/*", timeout_s: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:  # fmt: skip
        """A response that is not a JSON document, unless it is an error, which is raised."""
        async with self._response(method, path, body, query, accept=accept, timeout_s=timeout_s) as response:
            if response.status != 200:
                raise _error(_document(response.status, await response.read())["error"], self.running.url)
            yield response

    @contextlib.asynccontextmanager
    async def _response(
        self, method: str, path: str, body: JSON | None, query: JSON | None, *,
        accept: str = "*/*", timeout_s: float | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:  # fmt: skip
        """Any response; fields of `query` that are None are not sent."""
        import aiohttp

        try:
            async with self._client().request(
                method,
                self.running.url + path,
                data=None if body is None else _body(body),
                params={name: str(value) for name, value in (query or {}).items() if value is not None},
                headers={"Content-Type": "application/json", "Accept": accept},
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=5),
            ) as response:
                yield response
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as e:
            raise self._silent(e) from e

    def _silent(self, e: Exception) -> UnreachableError:
        begin = "Is this its address, and does it run?" if self.running.elsewhere else "Start it with `workbench up`;"
        return UnreachableError(
            f"The platform at {self.running.url} does not answer ({type(e).__name__}).",
            hint=f"{begin} {IN_FLIGHT}",
        )

    status = _request_for(Backend.status, "GET", "/status", timeout_s=5)
    servers = _request_for(Backend.servers, "GET", "/api/platform/servers", field="servers")
    configuration = _request_for(Backend.configuration, "GET", "/api/platform/servers")
    tools = _request_for(Backend.tools, "GET", "/api/platform/tools", field="tools")
    profiles = _request_for(Backend.profiles, "GET", "/api/platform/profiles")
    call = _request_for(Backend.call, "POST", "/api/platform/call")
    restart = _request_for(Backend.restart, "POST", "/api/platform/servers/{server}/restart", field="server")
    reload_servers = _request_for(Backend.reload_servers, "POST", "/api/platform/servers/reload")
    changed_definitions = _request_for(Backend.changed_definitions, "GET", "/api/platform/definitions", field="changed")
    accept_definition = _request_for(Backend.accept_definition, "POST", "/api/platform/definitions/{tool}")
    varying_acceptances = _request_for(
        Backend.varying_acceptances, "GET", "/api/platform/varying-definitions", field="varying_definitions"
    )
    revoke_varying = _request_for(Backend.revoke_varying, "DELETE", "/api/platform/varying-definitions/{tool}")
    cancel = _request_for(Backend.cancel, "POST", "/api/platform/runs/{run}/cancel", field="cancelled")
    providers = _request_for(Backend.providers, "GET", "/api/platform/providers", field="providers")
    approvals = _request_for(Backend.approvals, "GET", "/api/platform/approvals", field="approvals")
    decide = _request_for(Backend.decide, "POST", "/api/platform/approvals/{approval}")
    standing_approvals = _request_for(
        Backend.standing_approvals, "GET", "/api/platform/standing-approvals", field="standing_approvals"
    )
    revoke_standing = _request_for(Backend.revoke_standing, "DELETE", "/api/platform/standing-approvals/{id}")

    async def ask(
        self, question: str, *, provider: str | None = None, model: str | None = None, history: Sequence[JSON] = (),
        profile: str = "",
    ) -> AsyncIterator[AnyRunEvent]:  # fmt: skip
        import aiohttp

        body = {
            "question": question,
            "provider": provider,
            "model": model,
            "history": list(history),
            "profile": profile,
            "stream": True,
        }
        try:
            async with self._client().post(
                self.running.url + "/api/platform/query",
                data=_body(body),
                headers={"Content-Type": "application/json", "Accept": "text/event-stream"},
            ) as response:
                if response.status != 200:
                    raise _error(_document(response.status, await response.read())["error"], self.running.url)
                async for line in response.content:
                    if line.startswith(b"data: "):
                        data = orjson.loads(line[6:])
                        if "error" in data and "event" not in data:
                            raise _error(data["error"], self.running.url)
                        yield run_event(data)
        except (aiohttp.ClientError, ConnectionError) as e:
            raise UnreachableError(
                f"The platform at {self.running.url} went away during the run ({type(e).__name__}).",
                hint='What had been called is on the record: `workbench sql "select * from tool_calls"`.',
            ) from e

    async def record_load(self, run: JSON, requests: Sequence[JSON]) -> None:
        for portion in batches(requests):
            await self._request("POST", "/api/platform/load-requests", {"run": run, "requests": portion})
        await self._request("POST", "/api/platform/load-runs", {"run": run})

    async def sql(self, query: str, parameters: Any, max_rows: int, timeout_s: float, fleet: bool) -> pa.Table:
        """The answer to one statement; cancelling stops it there."""
        import pyarrow as pa

        body = {
            "sql": query, "parameters": parameters, "max_rows": max_rows, "timeout_s": timeout_s, "fleet": fleet,
        }  # fmt: skip
        async with self._stream(
            "POST", "/api/platform/sql", body, accept=_ARROW, timeout_s=timeout_s + _QUEUE_TIMEOUT_S
        ) as response:
            try:
                return pa.ipc.open_stream(await response.read()).read_all()
            except pa.ArrowInvalid as e:
                raise InternalError(f"A fault of the platform: the rows it sent do not read ({e}).") from e

    async def export(
        self, path: Path, table: str, form: str, since: str | None, until: str | None, progress: Progress | None
    ) -> int:
        """Write a table to a file that appears when it is whole; returns its size in bytes.

        Raises:
            MisuseError: no such table, or a time that does not read.
            UnreachableError: the export broke off.
            OSError: the file cannot be written.
        """
        query = {"table": table, "format": form, "from": since, "to": until}
        temporary, done = path.with_name(f".{path.name}.{os.getpid()}.part"), 0
        try:
            with temporary.open("wb") as output:
                async with self._stream("GET", "/api/platform/audit/export", query=query) as response:
                    async for chunk in response.content.iter_chunked(1 << 16):
                        output.write(chunk)
                        done += len(chunk)
                        if progress is not None:
                            progress(done, 0)
                output.flush()
                os.fsync(output.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return done

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _body(value: Any) -> bytes:
    """The body of a request; what is no portable JSON is still sent, so that the platform refuses and records it."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, default=str).encode()


def _document(status: int, body: bytes) -> Any:
    """What the platform answered.

    Raises:
        InternalError: that is no JSON, so the platform is there but something in it, or before it, is broken.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as e:
        began = body[:200].decode("utf-8", "replace")
        raise InternalError(
            f"A fault of the platform: it answered with status {status} and no JSON: {began!r}.",
            hint=f"Its log has more. {IN_FLIGHT}",
        ) from e
    if status >= 400 and not (
        isinstance(found, dict) and isinstance(found.get("error", found.get("kind")), (dict, str))
    ):
        raise InternalError(f"A fault of the platform: it answered with status {status} and {str(found)[:200]!r}.")
    return found


def _error(found: JSON, url: str) -> WorkbenchError:
    """The error that a platform answered with; `url` is where its documentation is found."""
    hint = str(found.get("hint", "")).replace("See /docs.", f"See {url}/docs.")
    if found.get("kind") == "QueryStopped":
        from workbench.audit import QueryStoppedError

        return QueryStoppedError(str(found.get("message", found)), hint=hint)
    kind = _ERRORS.get(str(found.get("kind")), WorkbenchError)
    return kind(str(found.get("message", found)), hint=hint)
