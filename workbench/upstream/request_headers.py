"""Headers of requests at 2026-07-28, which mirror the body so that proxies need not read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mcp.shared.inbound import encode_header_value, find_invalid_x_mcp_header, mcp_param_headers, x_mcp_header_map
from multidict import CIMultiDict, istr

from workbench.events import JSON

NAMED: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""Which parameter a method mirrors in the `Mcp-Name` header."""

MAX_PREPARED: Final = 2000
"""Tools of a server whose headers are kept ready."""


class PreparedHeaders(CIMultiDict[str]):
    """Headers that do not change any more, so that the lines they become are made once."""

    lines: str | None = None
    """As they are sent, each with its line break; None when they were not sent so far."""


class RequestHeaders:
    """Makes the headers of requests to one server; those of one tool are made once.

    Args:
        base: what every request has.
    """

    def __init__(self, base: Mapping[str, str]) -> None:
        self._base = base
        self._made: dict[tuple[str, str | None], PreparedHeaders] = {}
        self._mirrored: dict[str, dict[tuple[str, ...], str]] = {}

    def rebase(self, base: Mapping[str, str]) -> None:
        """Take other headers for every request."""
        self._base = base
        self._made.clear()

    def of(self, method: str, params: JSON) -> CIMultiDict[str]:
        """The headers of one request. Do not change them."""
        key = NAMED.get(method)
        name = params.get(key) if key is not None else None
        headers = self._made.get((method, name)) if name is None or isinstance(name, str) else None
        if headers is None:
            headers = PreparedHeaders({istr(each): value for each, value in self._base.items()})
            headers[istr("Mcp-Method")] = method
            if isinstance(name, str):
                headers[istr("Mcp-Name")] = encode_header_value(name)
            if len(self._made) < MAX_PREPARED:
                self._made[method, name] = headers
        if method == "tools/call" and name in self._mirrored:
            more = CIMultiDict(headers)
            more.update(mcp_param_headers(self._mirrored[str(name)], params.get("arguments") or {}))
            return more
        return headers

    def learn(self, listed: JSON) -> None:
        """Remember which arguments have to be mirrored as `Mcp-Param-*`; drop tools whose annotations are invalid.

        A client must not offer a tool whose `x-mcp-header` cannot be honoured (server/tools, "x-mcp-header").
        """
        kept = []
        for tool in listed.get("tools") or []:
            schema = tool.get("inputSchema") if isinstance(tool, dict) else None
            if find_invalid_x_mcp_header(schema) is None:
                kept.append(tool)
                if mapping := x_mcp_header_map(schema):
                    self._mirrored[str(tool.get("name"))] = mapping
        listed["tools"] = kept
