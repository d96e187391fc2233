"""Prompts, resources, completions and extensions at the front, whatever the era: lists, and methods of servers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from workbench import error_codes
from workbench.endpoint.endpoint_scope import server_of
from workbench.endpoint.feature_catalog import KINDS, AmbiguousNameError, FeatureCatalog, UnknownOwnerError
from workbench.endpoint.http import jsonrpc
from workbench.endpoint.http.http_request import EndpointRequest, EventStream, RunningRequest
from workbench.endpoint.http.responses import JSON_TYPE, EndpointResponse, say_error
from workbench.endpoint.lists import TTL_MS, FeatureLists
from workbench.endpoint.resource_subscriptions import ResourceSubscriptions
from workbench.endpoint.subscriptions import Announcements
from workbench.endpoint.tools_call import ToolCalls, request_is_modern
from workbench.events import JSON
from workbench.gateway.call import Gateway
from workbench.gateway.extensions import is_extension
from workbench.upstream.client_responder import ClientResponder
from workbench.upstream.jsonrpc_messages import encode

READ: Final = ("resources/read", "prompts/get", "completion/complete")

PAGE: Final = 500
"""Entries on one page of a list."""


_HOW: Final = "Prompts are called `server__name`; list them."


class UnroutableRequestError(Exception):
    """Nobody is meant by the name or address, or several are; `data` is for the error."""

    def __init__(self, message: str, data: JSON | None = None, *, code: int = error_codes.INVALID_PARAMS) -> None:
        super().__init__(message)
        self.data = data
        self.code = code


class Features:
    """Answers for prompts, resources, templates and completions.

    Args:
        offers: what the servers have.
        calls: runs what reaches a server, under the rules and on the record.
    """

    def __init__(self, offers: FeatureCatalog, calls: ToolCalls) -> None:
        self._offers = offers
        self._calls = calls
        self._outbound = calls.outbound

    def serves(self, method: str) -> bool:
        """Whether a method is answered here."""
        return method in KINDS or method in READ or is_extension(method)

    async def answer(
        self,
        request: EndpointRequest,
        id: Any,
        method: str,
        params: JSON,
        protocol: str,
        running: RunningRequest,
        stream: EventStream | None,
        *,
        session: str = "",
        respondent: ClientResponder | None = None,
    ) -> EndpointResponse:
        """Answer one request whose method `serves`."""
        if method in KINDS:
            return await self._list(request, id, method, params, modern=request_is_modern(protocol))
        params = self._outbound.opened(params, request.caller.tenant)
        try:
            if is_extension(method):
                tool, own = self._offers.method(request.caller, request.view, method), params
            else:
                server, own = await self._routed(request, method, params)
                tool = f"{server}.{method}"
        except (UnroutableRequestError, UnknownOwnerError) as e:
            return say_error(id, e.code, str(e), e.data, modern=request_is_modern(protocol))
        call, problem = self._calls.of_method(request, tool, own, protocol, session=session)
        return await self._calls.answer(request, id, call, problem, running, stream, respondent)

    async def told(
        self, request: EndpointRequest, method: str, params: JSON, protocol: str, *, session: str = ""
    ) -> EndpointResponse:
        """Answer a notification of an extension: whether it was passed on."""
        try:
            tool = self._offers.method(request.caller, request.view, method)
        except UnknownOwnerError as e:
            return say_error(None, e.code, str(e), e.data)
        call, problem = self._calls.of_method(request, tool, params, protocol, session=session)
        return await self._calls.tell(request, call, problem)

    async def _list(
        self, request: EndpointRequest, id: Any, method: str, params: JSON, *, modern: bool
    ) -> EndpointResponse:
        kind = KINDS[method]
        entries = await self._offers.listed(request.caller, request.view, kind)
        entries = await self._outbound.entries(entries, request.caller.tenant)
        # A page is only continued in the list that it was cut from: another list has other pages.
        mark = hashlib.sha256(encode([entry[kind.named_by] for entry in entries])).hexdigest()[:16]
        start, cursor = 0, params.get("cursor")
        if cursor is not None:
            at, _, of = cursor.partition("-") if isinstance(cursor, str) else ("", "", "")
            if of != mark or not at.isdecimal() or not 0 < int(at) < len(entries):
                told = "There is no such cursor, or the list has changed: begin without one."
                return say_error(id, error_codes.INVALID_PARAMS, told, modern=modern)
            start = int(at)
        value: JSON = {kind.key: entries[start : start + PAGE]}
        if start + PAGE < len(entries):
            value["nextCursor"] = f"{start + PAGE}-{mark}"
        if modern:
            # What is filtered for one caller must not be shared with another (server/utilities/caching).
            value |= {"ttlMs": TTL_MS, "cacheScope": "private", "resultType": "complete"}
        return EndpointResponse(200, [JSON_TYPE], jsonrpc.result(id, value))

    async def _routed(self, request: EndpointRequest, method: str, params: JSON) -> tuple[str, JSON]:
        """The server that is meant, and the params with the name that it knows."""
        if method == "prompts/get":
            server, name = await self._prompt(request, params.get("name"))
            return server, {**params, "name": name}
        ref = params.get("ref")
        if method == "completion/complete" and isinstance(ref, dict) and ref.get("type") == "ref/prompt":
            server, name = await self._prompt(request, ref.get("name"))
            return server, {**params, "ref": {**ref, "name": name}}
        if server := server_of(request.view):
            return server, params
        if method == "resources/read":
            server, uri = await self._owner(request, params.get("uri"))
            return server, {**params, "uri": uri}
        if isinstance(ref, dict) and ref.get("type") == "ref/resource":
            server, uri = await self._owner(request, ref.get("uri"))
            return server, {**params, "ref": {**ref, "uri": uri}}
        raise UnroutableRequestError("params.ref has to be a ref/prompt with a name or a ref/resource with a uri.")

    async def _prompt(self, request: EndpointRequest, name: Any) -> tuple[str, Any]:
        alone = server_of(request.view)
        if not isinstance(name, str):
            if alone:
                return alone, name  # refused by the schema of the method, on the record
            raise UnroutableRequestError(f"There is no prompt {name!r}. {_HOW}")
        server, own = await self._offers.prompt(name, request.caller.tenant, request.view)
        if not server:
            raise UnroutableRequestError(f"There is no prompt {name[:200]!r}. {_HOW}")
        return server, own

    async def owner(self, request: EndpointRequest, uri: Any) -> tuple[str, str]:
        """The server behind the endpoint of a request that has a resource, and its address there.

        Raises:
            Unroutable: none has, or several have.
        """
        view, uri = server_of(request.view), self._outbound.opened_address(uri, request.caller.tenant)
        return (view, uri) if view and isinstance(uri, str) else await self._owner(request, uri)

    async def _owner(self, request: EndpointRequest, uri: Any) -> tuple[str, str]:
        if not isinstance(uri, str):
            raise UnroutableRequestError("params.uri is no text.")
        try:
            server, own = await self._offers.owner(uri, request.caller.tenant, request.view)
        except AmbiguousNameError as e:
            raise UnroutableRequestError(str(e), {"uri": uri}) from e
        if not self._offers.knows(server, request.caller.tenant):
            raise UnroutableRequestError(f"There is no resource {uri[:500]!r} here.", {"uri": uri})
        return server, own


@dataclass(frozen=True, slots=True)
class EndpointContext:
    """The parts of one endpoint from which `ModernProtocol` and `LegacyProtocol` answer."""

    gateway: Gateway
    lists: FeatureLists
    calls: ToolCalls
    features: Features
    announcements: Announcements
    subscriptions: ResourceSubscriptions

    @classmethod
    def of(cls, gateway: Gateway) -> EndpointContext:
        """The parts of an endpoint over `gateway`."""
        lists, calls, subscriptions = FeatureLists(gateway), ToolCalls(gateway), ResourceSubscriptions(gateway)
        features = Features(lists.offers, calls)
        return cls(gateway, lists, calls, features, Announcements(gateway, subscriptions), subscriptions)
