"""From a permitted call to its server: deadlines, bounds, one retry where it cannot do harm, and remembered answers."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import TYPE_CHECKING

from workbench.cluster.sealed_tokens import SealedTokens
from workbench.config import Settings
from workbench.events import JSON, Call, Tool, UnreachableError
from workbench.gateway.backpressure import UNREAD
from workbench.gateway.method_tools import is_method
from workbench.gateway.refusals import CallRefusedError
from workbench.gateway.results.result_cache import Answered, CacheKey, ResultCache
from workbench.gateway.server_requests import ServerRequests
from workbench.gateway.task_ids import METHODS, TaskIds
from workbench.registry.connection import Connection, RequestRefusedError, RpcError
from workbench.registry.server import OverloadedError
from workbench.secrets import SecretResolver
from workbench.upstream.client_responder import ClientResponder
from workbench.upstream.jsonrpc_messages import Notify
from workbench.upstream.negotiation import IncompleteAnswerError as PartlyAnswered
from workbench.upstream.negotiation import NotMcpError
from workbench.upstream.per_caller import acting_for

if TYPE_CHECKING:
    from workbench.cluster.message_relay import MessageRelay
    from workbench.gateway.results.redis_cache import SharedCache
    from workbench.registry import Registry


class Dispatcher:
    """Sends calls to their servers.

    Args:
        settings: deadlines and bounds.
        registry: told of servers that fail.
        relay: reaches the other processes of this deployment.
    """

    def __init__(self, settings: Settings, registry: Registry, relay: MessageRelay | None = None) -> None:
        self.cache = ResultCache(shared=_shared_cache(settings))
        self.dialogues = ServerRequests(settings.home, relay)
        self.tasks = TaskIds(settings.home)
        self.under_way = 0
        self._settings = settings
        self._registry = registry
        self._most = settings.calls_at_once
        self._timeout = settings.call_timeout
        self._timeouts = settings.tool_timeouts
        self._longest = settings.call_timeout_with_progress

    async def send(
        self,
        call: Call,
        tool: Tool,
        connection: Connection,
        notify: Notify | None,
        started: int,
        respondent: ClientResponder | None = None,
    ) -> tuple[JSON, JSON]:
        """The server's result, and what is to be said of how it was got: nothing, or that it was remembered.

        Args:
            call: permitted and valid.
            tool: what it calls.
            connection: to its server.
            notify: awaited with progress and log notifications.
            started: when the call came, by `perf_counter_ns`.
            respondent: who can be asked while the server works.

        Raises:
            CallRefusedError: no answer, no answer in time, or an error.
        """
        key = None if is_method(call.tool) else self.cache.key(call, tool)
        if key is None:
            return await self._send(call, tool, connection, notify, started, respondent), {}
        if (found := self.cache.get(key)) is not None:
            return found
        return await self._once(key, call, tool, connection, notify, started)

    async def _once(
        self, key: CacheKey, call: Call, tool: Tool, connection: Connection, notify: Notify | None, started: int
    ) -> tuple[JSON, JSON]:
        """Ask the server once for all who want the same answer at the same time."""
        first = key not in self.cache.flights
        if first:
            asking = self._found_or_sent(key, call, tool, connection, notify, started)
            self.cache.fly(key, asyncio.ensure_future(asking))
        # who asked first is given up when nothing is heard; until then there is something to wait for
        limit = self.longest(call, tool)
        try:
            with self.cache.waiting(key) as landing:
                async with asyncio.timeout(limit - (perf_counter_ns() - started) / 1e9):
                    result, details = await asyncio.shield(landing)
        except TimeoutError as e:
            raise _late(tool, limit, limit) from e
        return result, details if first else {"cached": True, "age_ms": details.get("age_ms", 0)}

    async def _found_or_sent(
        self, key: CacheKey, call: Call, tool: Tool, connection: Connection, notify: Notify | None, started: int
    ) -> Answered:
        """What another process remembers, or else what the server says."""
        if self.cache.shared is not None and (found := await self.cache.elsewhere(key)) is not None:
            return found
        return await self._send(call, tool, connection, notify, started), {}

    async def _send(
        self,
        call: Call,
        tool: Tool,
        connection: Connection,
        notify: Notify | None,
        started: int,
        respondent: ClientResponder | None = None,
    ) -> JSON:
        if self.under_way >= self._most or UNREAD.too_many:
            raise CallRefusedError(
                "unavailable", "Too many calls are under way. Try again in 1 s.", rule="busy", retry_after=1
            )
        limit, longest = self.timeout(call, tool), self.longest(call, tool)
        method, params, meta = _request(call, tool)
        if method in METHODS:
            params["taskId"] = self.tasks.of(call).id
        self.under_way += 1
        acting = acting_for.set(call.caller)
        try:
            for last in (False, True):
                spent = (perf_counter_ns() - started) / 1e9
                remaining = limit - spent
                try:
                    if call.oneway:
                        await connection.notify(method, params, timeout=remaining, meta=meta)
                        return {}
                    result = await self.dialogues.request(
                        call, connection, method, params, meta,
                        timeout=remaining, longest=longest - spent, notify=notify, respondent=respondent,
                    )  # fmt: skip
                    if method == "tools/call":
                        self.cache.learn(call, tool, result)
                    return self.tasks.shown(call, tool, result)
                except RequestRefusedError as e:
                    raise _refused_by_server(tool, e) from e
                except UnreachableError as e:
                    if last or not tool.idempotent or isinstance(e, PartlyAnswered) or not connection.alive:
                        wait = e.retry_s if isinstance(e, NotMcpError) else 0
                        raise CallRefusedError("unavailable", str(e), server=tool.server, retry_after=wait or 1) from e
            raise AssertionError("unreachable")
        except OverloadedError as e:
            raise CallRefusedError("unavailable", str(e), server=tool.server, rule=e.rule, retry_after=e.retry_s) from e
        except TimeoutError as e:
            raise _late(tool, limit, longest, (perf_counter_ns() - started) / 1e9) from e
        except RpcError as e:
            error = {"code": e.code, "message": str(e.args[0]), "data": e.data}
            told = f"{tool.server} answered with error {e.code}: {e}"
            raise CallRefusedError("failed", told, code=e.code, rpc_error=error) from e
        finally:
            acting_for.reset(acting)
            self.under_way -= 1

    async def close(self) -> None:
        """Give up calls that wait for a client's answers, and let go of what is shared with other processes."""
        await self.dialogues.close()
        if self.cache.shared is not None:
            await self.cache.shared.close()

    def timeout(self, call: Call, tool: Tool) -> float:
        """Seconds that this call may take: the tool's own, its server's, or the general longest time, or less."""
        longest = self._timeout
        if of_servers := self._registry.call_timeouts:
            longest = of_servers.get(tool.server, longest)
        if self._timeouts:
            of_server = self._timeouts.get(f"{tool.server}.*", longest)
            longest = self._timeouts.get(tool.qualified, of_server)
        return min(call.timeout_s or longest, longest)

    def longest(self, call: Call, tool: Tool) -> float:
        """Seconds that this call may take while its server reports progress."""
        longest = max(self._longest, self.timeout(call, tool))
        return min(call.timeout_s or longest, longest)


def _shared_cache(settings: Settings) -> SharedCache | None:
    """Where answers are remembered for other processes as well."""
    if not settings.cache_url:
        return None
    from workbench.gateway.results.redis_cache import SharedCache

    url = SecretResolver.of(settings).read(settings.cache_url)
    return SharedCache(url, SealedTokens(settings.home / "session.key", b"remembered answer v1"))


def _late(tool: Tool, limit: float, longest: float, spent: float = 0.0) -> CallRefusedError:
    """The refusal of a call that was given up after `spent` seconds."""
    if spent >= longest > limit:
        message = f"{tool.qualified} reported progress but no result within {longest:g} s and was cancelled."
        return CallRefusedError("timeout", message, timeout_s=longest)
    since = " of its last message" if spent >= limit + 1 else ""
    return CallRefusedError(
        "timeout", f"{tool.qualified} did not answer within {limit:g} s{since} and was cancelled.", timeout_s=limit
    )


def _refused_by_server(tool: Tool, error: RequestRefusedError) -> CallRefusedError:
    """An HTTP error of the server about this one call, in its own words."""
    if error.retry_s:
        return CallRefusedError(
            "unavailable", str(error), server=tool.server, status=error.status, retry_after=error.retry_s
        )
    return CallRefusedError("failed", str(error), server=tool.server, status=error.status)


def _request(call: Call, tool: Tool) -> tuple[str, JSON, JSON]:
    """Method, `params` and `_meta` for the server: the client's own, our name undone, our span as parent."""
    siblings = call.meta
    meta = siblings.get("_meta") or {}
    params = {key: value for key, value in siblings.items() if key != "_meta"} if siblings else {}
    meta = {**meta, "traceparent": f"00-{call.trace_id}-{call.span_id}-01"}
    if is_method(call.tool):
        return tool.name, params | call.arguments, meta
    params["name"] = tool.upstream_name
    params["arguments"] = call.arguments
    return "tools/call", params, meta
