"""The short way of nearly every call accepts nothing that the whole ladder of checks would refuse."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from workbench.endpoint.http.http_request import EndpointRequest
from workbench.endpoint.modern import _judged, _repeats
from workbench.upstream.negotiation import CAPABILITIES_KEY, MODERN, VERSION_KEY

METHODS = ["tools/call", "tools/list", "prompts/get"]
VERSIONS = [MODERN, "2025-11-25", "2099-01-01", ""]
NAMES = ["crm.find", "other", "", "=?base64?Y3JtLmZpbmQ=?=", "größe", "a b"]


def request(headers: dict[bytes, bytes]) -> EndpointRequest:
    async def nothing(*_: Any) -> Any: ...

    return EndpointRequest({}, nothing, nothing, headers, "", "")


@given(
    method=st.sampled_from(METHODS),
    name=st.one_of(st.sampled_from(NAMES), st.integers(), st.none()),
    meta=st.one_of(
        st.none(),
        st.dictionaries(
            st.sampled_from([VERSION_KEY, CAPABILITIES_KEY, "x"]),
            st.one_of(st.sampled_from(VERSIONS), st.just({}), st.integers()),
        ),
    ),
    told=st.fixed_dictionaries(
        {},
        optional={
            b"mcp-protocol-version": st.sampled_from([v.encode() for v in VERSIONS]),
            b"mcp-method": st.sampled_from([m.encode() for m in METHODS]),
            b"mcp-name": st.sampled_from([n.encode() for n in NAMES]),
        },
    ),
)
def test_what_passes_the_short_way_passes_the_long_one(
    method: str, name: Any, meta: Any, told: dict[bytes, bytes]
) -> None:
    params = {"name": name, "arguments": {}, "_meta": meta}
    asked = request(told)
    if _repeats(asked, method, params):
        assert _judged(asked, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) is None


def test_an_ordinary_call_takes_the_short_way() -> None:
    params = {"name": "crm.find", "_meta": {VERSION_KEY: MODERN, CAPABILITIES_KEY: {}}}
    told = {b"mcp-protocol-version": MODERN.encode(), b"mcp-method": b"tools/call", b"mcp-name": b"crm.find"}
    assert _repeats(request(told), "tools/call", params)
    assert not _repeats(request(told | {b"mcp-name": b"crm.drop"}), "tools/call", params)
