"""A workbench attached to a platform that already runs, over its management API."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec
import orjson

from workbench.agent import ProviderStatus
from workbench.events import (
    JSON,
    AnyRunEvent,
    InternalError,
    MisuseError,
    NotRecordedError,
    Outcome,
    Source,
    Tool,
    UnauthenticatedError,
    UnreachableError,
    WorkbenchError,
    run_event,
)
from workbench.platform.changed_definitions import ChangedDefinition
from workbench.platform.load_run import batches
from workbench.platform.run_file import RunningPlatform
from workbench.policy import Approval
from workbench.policy.approvals.standing_approvals import StandingApproval, StandingTerms
from workbench.registry import ConfigurationRemarks, ReloadResult, ServerState, VaryingAcceptance

if TYPE_CHECKING:
    import aiohttp
    import pyarrow as pa

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


class AttachedBackend:
    """The same asynchronous methods as `Embedded`; every one is a request to the platform."""

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
        self, method: str, path: str, body: Any = None, *, seconds: float | None = None, **query: Any
    ) -> Any:
        import aiohttp

        parameters = {k: str(v) for k, v in query.items() if v is not None}
        data = None if body is None else _body(body)
        try:
            async with self._client().request(
                method,
                self.running.url + path,
                data=data,
                params=parameters,
                headers={"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=5),
            ) as response:
                found = _document(response.status, await response.read())
                if response.status >= 400 and "error" in found:
                    raise _error(found["error"], self.running.url)
                return found
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as e:
            raise self._silent(e) from e

    def _silent(self, e: Exception) -> UnreachableError:
        begin = "Is this its address, and does it run?" if self.running.elsewhere else "Start it with `workbench up`;"
        return UnreachableError(
            f"The platform at {self.running.url} does not answer ({type(e).__name__}).",
            hint=f"{begin} {IN_FLIGHT}",
        )

    async def status(self) -> JSON:
        return await self._request("GET", "/status", seconds=5)  # type: ignore[no-any-return]

    async def servers(self) -> list[ServerState]:
        found = await self._request("GET", "/api/platform/servers")
        return msgspec.convert(found["servers"], list[ServerState])

    async def configuration(self) -> ConfigurationRemarks:
        return msgspec.convert(await self._request("GET", "/api/platform/servers"), ConfigurationRemarks)

    async def profiles(self) -> JSON:
        return await self._request("GET", "/api/platform/profiles")  # type: ignore[no-any-return]

    async def tools(self, words: str = "", limit: int = 50, profile: str = "") -> list[Tool]:
        found = await self._request("GET", "/api/platform/tools", q=words or None, limit=limit, profile=profile or None)
        return msgspec.convert(found["tools"], list[Tool])

    async def call(self, tool: str, arguments: JSON, timeout_s: float | None = None, profile: str = "") -> Outcome:
        body = {"tool": tool, "arguments": arguments, "timeout_s": timeout_s, "profile": profile}
        return msgspec.convert(await self._request("POST", "/api/platform/call", body), Outcome)

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

    async def cancel(self, run: str) -> bool:
        return bool((await self._request("POST", f"/api/platform/runs/{run}/cancel"))["cancelled"])

    async def providers(self) -> list[ProviderStatus]:
        found = await self._request("GET", "/api/platform/providers")
        return msgspec.convert(found["providers"], list[ProviderStatus])

    async def approvals(self) -> list[Approval]:
        found = await self._request("GET", "/api/platform/approvals")
        return msgspec.convert(found["approvals"], list[Approval])

    async def decide(
        self,
        approval: str,
        approve: bool,
        note: str = "",
        arguments: JSON | None = None,
        seen: str = "",
        standing: StandingTerms | None = None,
    ) -> Approval:
        body = {"approve": approve, "note": note, "arguments": arguments, "args_hash": seen}
        if standing is not None:
            body["standing"] = standing.to_dict()
        return msgspec.convert(await self._request("POST", f"/api/platform/approvals/{approval}", body), Approval)

    async def standing_approvals(self) -> list[StandingApproval]:
        found = await self._request("GET", "/api/platform/standing-approvals")
        return msgspec.convert(found["standing_approvals"], list[StandingApproval])

    async def revoke_standing(self, id: str) -> StandingApproval:
        path = f"/api/platform/standing-approvals/{quote(id, safe='')}"
        return msgspec.convert(await self._request("DELETE", path), StandingApproval)

    async def restart(self, server: str) -> ServerState:
        found = await self._request("POST", f"/api/platform/servers/{quote(server, safe='')}/restart")
        return msgspec.convert(found["server"], ServerState)

    async def reload_servers(self) -> ReloadResult:
        return msgspec.convert(await self._request("POST", "/api/platform/servers/reload"), ReloadResult)

    async def changed_definitions(self) -> list[ChangedDefinition]:
        found = await self._request("GET", "/api/platform/definitions")
        return msgspec.convert(found["changed"], list[ChangedDefinition])

    async def accept_definition(self, tool: str, hash: str, varying: bool = False) -> None:
        body: JSON = {"hash": hash, **({"varying": True} if varying else {})}
        await self._request("POST", f"/api/platform/definitions/{quote(tool, safe='')}", body)

    async def varying_acceptances(self) -> list[VaryingAcceptance]:
        found = await self._request("GET", "/api/platform/varying-definitions")
        return msgspec.convert(found["varying_definitions"], list[VaryingAcceptance])

    async def revoke_varying(self, tool: str) -> None:
        await self._request("DELETE", f"/api/platform/varying-definitions/{quote(tool, safe='')}")

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
        async with self._answer(
            "POST", "/api/platform/sql", timeout_s + _QUEUE_TIMEOUT_S, _body(body), {}, _ARROW
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
        given = {name: value for name, value in query.items() if value is not None}
        temporary, done = path.with_name(f".{path.name}.{os.getpid()}.part"), 0
        try:
            with temporary.open("wb") as output:
                async with self._answer("GET", "/api/platform/audit/export", None, None, given, "*/*") as response:
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

    @contextlib.asynccontextmanager
    async def _answer(
        self, method: str, path: str, seconds: float | None, body: bytes | None, query: dict[str, str], accept: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that is no JSON document, unless it is an error, which is raised."""
        import aiohttp

        headers = {"Content-Type": "application/json", "Accept": accept}
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=5)
        try:
            async with self._client().request(
                method, self.running.url + path, data=body, params=query, headers=headers, timeout=limits
            ) as response:
                if response.status != 200:
                    raise _error(_document(response.status, await response.read())["error"], self.running.url)
                yield response
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as e:
            raise self._silent(e) from e

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
