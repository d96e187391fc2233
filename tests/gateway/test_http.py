"""The endpoint, request by request, in this process: headers, identity, errors, and what is on the record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp.server.mcpserver import Context

from workbench.events import JSON

MODERN = "2026-07-28"


ADD = {"name": "calc.add", "arguments": {"a": 1, "b": 2}}


async def test_discover_says_who_we_are_and_what_we_do(browser: Any) -> None:
    response = await browser.modern("server/discover")
    assert response.status == 200
    found = response.json["result"]
    assert found["supportedVersions"] == [MODERN]
    changes = {"listChanged": True}
    assert found["capabilities"] == {
        "tools": changes,
        "prompts": changes,
        "resources": {**changes, "subscribe": True},
    }
    assert found["resultType"] == "complete"
    assert found["cacheScope"] == "private"
    assert "calc: Adds numbers." in found["instructions"]


async def test_lists_show_definitions_unchanged_under_our_names(browse: Any, browser: Any, house: Any) -> None:
    found = (await browser.modern("tools/list")).json["result"]
    names = [tool["name"] for tool in found["tools"]]
    assert "calc__add" in names
    assert names == sorted(names)
    assert (found["cacheScope"], found["resultType"]) == ("private", "complete")
    assert found["ttlMs"] > 0
    assert found["_meta"]["workbench/servers"] == {"calc": {"status": "ready"}}
    add = next(tool for tool in found["tools"] if tool["name"] == "calc__add")
    upstream = next(tool for tool in house.registry.tools() if tool.name == "add").definition
    assert {**add, "name": "add"} == upstream
    alone = browse(house, "/servers/calc/mcp")
    assert {**add, "name": "add"} in (await alone.modern("tools/list")).json["result"]["tools"]


async def test_lists_are_filtered_by_the_rules_that_judge_calls(browse: Any, house: Any) -> None:
    reader = browse(house, token=house.key(scopes=("calc:read",)))
    found = (await reader.modern("tools/list")).json["result"]
    assert [tool["name"] for tool in found["tools"]] == ["calc__add"]
    assert (await reader.modern("tools/list", {"cursor": "x"})).error["code"] == -32602


async def test_calls_work_on_both_endpoints_with_the_names_of_each(browse: Any, browser: Any, house: Any) -> None:
    response = await browser.modern("tools/call", ADD, id="seven")
    assert (response.status, response.json["id"]) == (200, "seven")
    assert response.json["result"]["structuredContent"] == {"total": 3}
    assert response.json["result"]["resultType"] == "complete"
    alone = browse(house, "/servers/calc/mcp")
    response = await alone.modern("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
    assert response.json["result"]["structuredContent"] == {"total": 3}
    assert [record["protocol"] for record in house.recorded()] == [MODERN, MODERN]
    assert (await browse(house, "/servers/nobody/mcp").modern("tools/list")).status == 404


async def test_progress_turns_the_answer_into_a_stream(browser: Any) -> None:
    asked = {"name": "calc.steps", "arguments": {}}
    response = await browser.modern("tools/call", asked, meta={"progressToken": "p"})
    assert response.headers["content-type"] == "text/event-stream"
    *progress, last = response.events
    assert [(m["params"]["progressToken"], m["params"]["message"]) for m in progress] == [("p", "half"), ("p", "whole")]
    assert last["result"]["content"][0]["text"] == "done"
    quiet = await browser.modern("tools/call", asked)
    assert quiet.headers["content-type"] == "application/json"


async def test_leaving_cancels_a_modern_call(browser: Any, house: Any) -> None:
    leave = asyncio.Event()
    asked = asyncio.create_task(browser.modern("tools/call", {"name": "calc.hang", "arguments": {}}, leave=leave))
    async with asyncio.timeout(5):
        await house.calc.started.wait()
        leave.set()
        await house.calc.cancelled.wait()
        response = await asked
    assert response.status == 0
    await house.audit.close()
    assert house.outcomes() == ["cancelled"]


HEADER_RULES: list[tuple[dict[str, str | None], int]] = [
    ({"host": "evil.example"}, 421),
    ({"host": "127.0.0.1.evil.example"}, 421),
    ({"host": None}, 421),
    ({"host": "LOCALHOST:99"}, 200),
    ({"host": "[::1]:8800"}, 200),
    ({"origin": "https://evil.example"}, 403),
    ({"origin": "null"}, 403),
    ({"origin": "http://localhost.evil.example"}, 403),
    ({"origin": "http://localhost:8801"}, 403),
    ({"origin": "http://127.0.0.1:8800"}, 200),
    ({"origin": "HTTP://LOCALHOST:8800", "host": "localhost:8800"}, 200),
    ({"origin": "http://localhost:8800"}, 403),
    ({"authorization": None}, 401),
    ({"authorization": "Bearer nonsense"}, 401),
    ({"authorization": "Basic eDp5"}, 401),
    ({"content-type": "application/jsonfoo"}, 415),
    ({"content-type": "text/plain"}, 415),
    ({"content-type": "application/json; charset=utf-8"}, 200),
    ({"content-type": 'Application/JSON;charset="UTF8"'}, 200),
    ({"content-type": "application/json; profile=x"}, 200),
    ({"content-type": "application/json-rpc"}, 200),
    ({"content-type": "application/json; charset=utf-16"}, 415),
    ({"content-type": "application/x-www-form-urlencoded"}, 415),
    ({"content-type": None}, 415),
    ({"accept": None}, 200),
    ({"accept": "*/*"}, 200),
    ({"accept": "application/json"}, 200),
    ({"accept": "Application/JSON, Text/Event-Stream;q=0.5"}, 200),
    ({"accept": ""}, 200),
    ({"content-encoding": "gzip"}, 415),
    ({"accept": "text/html"}, 406),
    ({"mcp-protocol-version": f" {MODERN}\t"}, 200),
    ({"mcp-protocol-version": "2031-01-01"}, 400),
    ({"mcp-protocol-version": None}, 400),
    ({"mcp-method": "tools/call"}, 400),
    ({"mcp-method": None}, 400),
]


async def test_each_header_is_held_to_its_rule(browser: Any) -> None:
    for headers, status in HEADER_RULES:
        response = await browser.modern("tools/list", headers=headers)
        assert response.status == status, headers


async def test_a_foreign_host_or_origin_is_accepted_where_the_settings_say_so(browse: Any, furnish: Any) -> None:
    house = await furnish(allowed_hosts=("tools.example",), allowed_origins=("https://app.example",))
    headers = {"host": "tools.example:443", "origin": "https://app.example"}
    assert (await browse(house).modern("tools/list", headers=headers)).status == 200


async def test_a_header_that_stands_twice_is_refused(browser: Any) -> None:
    for name in ("Mcp-Method", "Mcp-Name", "Authorization", "Host", "MCP-Protocol-Version"):
        response = await browser.modern("tools/call", ADD, extra=((name, "x"),))
        assert (response.status, response.error["code"]) == (400, -32020), name


async def test_without_a_credential_the_challenge_says_where_to_get_one(browser: Any) -> None:
    browser.token = ""
    response = await browser.modern("tools/list")
    told = response.headers["www-authenticate"]
    metadata = "http://127.0.0.1:8800/.well-known/oauth-protected-resource/mcp"
    assert told == f'Bearer resource_metadata="{metadata}", scope="calc:read"'
    document = await browser.send(method="GET", path="/.well-known/oauth-protected-resource/mcp")
    assert document.json["resource"] == "http://127.0.0.1:8800/mcp"
    assert set(document.json["scopes_supported"]) == {"calc:read", "calc:write"}
    browser.token = "wrong"
    assert 'error="invalid_token"' in (await browser.modern("tools/list")).headers["www-authenticate"]


async def test_missing_scopes_are_a_403_that_names_all_of_them(browse: Any, house: Any) -> None:
    reader = browse(house, token=house.key(scopes=("calc:read",)))
    response = await reader.modern("tools/call", {"name": "calc.fail", "arguments": {}})
    assert response.status == 403
    assert 'error="insufficient_scope", scope="calc:write"' in response.headers["www-authenticate"]
    assert response.error["data"]["missing_scopes"] == ["calc:write"]
    assert response.error["data"]["rule"] == "tool_scopes.missing_scopes"
    assert house.outcomes() == ["denied"]


async def test_a_used_up_rate_is_a_429_with_the_seconds_to_wait(browse: Any, furnish: Any) -> None:
    browser = browse(await furnish(rate_per_minute=1))
    assert (await browser.modern("tools/call", ADD)).status == 200
    response = await browser.modern("tools/call", ADD)
    assert response.status == 429
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert (await browser.legacy("tools/call", ADD)).status == 429


async def test_what_cannot_be_recorded_is_a_503(browser: Any, house: Any) -> None:
    await house.audit.close()
    for response in (await browser.modern("tools/call", ADD), await browser.legacy("tools/call", ADD)):
        assert (response.status, response.headers["retry-after"]) == (503, "1")
        assert "result" not in response.json
    assert house.calc.calls == []


@pytest.mark.parametrize(
    ("params", "kind", "words"),
    [
        ({"name": "calc.add", "arguments": {"a": "x", "b": 1}}, "invalid", 'given "x", expected integer'),
        ({"name": "calc.erase", "arguments": {"what": "all"}}, "approval_required", "workbench approvals"),
    ],
)
async def test_what_a_model_can_mend_is_a_tool_result_that_says_how(
    browser: Any, house: Any, params: JSON, kind: str, words: str
) -> None:
    for response in (await browser.modern("tools/call", params), await browser.legacy("tools/call", params)):
        assert response.status == 200
        result = response.json["result"]
        assert result["isError"] is True
        assert words in result["content"][0]["text"]
        assert result["_meta"]["workbench/outcome"]["kind"] == kind
    assert house.outcomes() == [kind, kind]


async def test_at_the_endpoint_of_one_server_names_are_its_own(browse: Any, house: Any) -> None:
    alone = browse(house, "/servers/calc/mcp")
    for name in ("ad", "calc.add"):
        response = await alone.modern("tools/call", {"name": name, "arguments": {}})
        assert response.error["data"]["suggestions"][0] == "add"
        assert "Did you mean add" in response.error["message"]
        assert "calc.calc" not in response.body.decode()


async def test_an_unknown_tool_is_an_error_with_suggestions(browser: Any, house: Any) -> None:
    response = await browser.modern("tools/call", {"name": "calc.ad", "arguments": {}})
    assert (response.status, response.error["code"]) == (400, -32602)
    assert response.error["data"]["suggestions"][0] == "calc.add"
    response = await browser.legacy("tools/call", {"name": "calc.ad", "arguments": {}})
    assert (response.status, response.error["code"]) == (200, -32602)


AMBIGUOUS = [
    (b"", -32700),
    (b"{", -32700),
    (b"\xff", -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"p\xffing"}', -32700),
    (b"[1,", -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}', -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"\\u003a":1,"a":1,"a":2}}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":123456789012345678901234567890}}', -32600),
    (b'{"a":' * 70 + b"1" + b"}" * 70, -32600),
    (b"[" + b"1," * 100_001 + b"1]", -32600),
    (b"[" * 3000 + b"]" * 3000, -32700),
    (b"7", -32600),
    (b'{"id":1,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', -32602),
]


async def test_a_body_that_could_be_read_in_two_ways_is_refused(browser: Any) -> None:
    for body, code in AMBIGUOUS:
        for headers in ({}, {"mcp-protocol-version": MODERN, "mcp-method": "ping"}):
            response = await browser.send(body, headers=headers)
            assert (response.status, response.error["code"]) == (400, code), body[:80]


async def test_texts_with_colons_are_no_duplicate_keys(browser: Any) -> None:
    body = b'{"jsonrpc":"2.0","id":"a:b","method":"ping","params":{"t":"10:20:30 \\u003a"}}'
    response = await browser.send(body)
    assert response.json == {"jsonrpc": "2.0", "id": "a:b", "result": {}}


async def test_a_body_beyond_the_cap_is_not_even_read(browse: Any, furnish: Any) -> None:
    browser = browse(await furnish(max_request_bytes=1000))
    for headers in ({}, {"content-length": "5000"}):
        response = await browser.send(b"x" * 5000, headers=headers)
        assert response.status == 413


async def test_a_body_in_pieces_is_put_together_and_a_lost_one_is_forgotten(furnish: Any, browse: Any) -> None:
    browser = browse(await furnish(max_request_bytes=1000))
    assert (await browser.legacy("ping", pieces=5)).status == 200
    assert (await browser.send(b"x" * 3000, pieces=3)).status == 413
    for pieces in (1, 3):
        assert (await browser.legacy("ping", pieces=pieces, gone=True)).status == 0


async def test_a_body_that_does_not_come_is_not_waited_for(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.endpoint.http.http_request.BODY_TIMEOUT_S", 0.05)
    scope = {"type": "http", "method": "POST", "path": "/mcp", "scheme": "http"}
    token = f"Bearer {browser.token}".encode()
    kind = (b"content-type", b"application/json")
    scope["headers"] = [(b"host", b"localhost"), (b"authorization", token), kind]  # type: ignore[assignment]
    pending, sent = [{"type": "http.request", "body": b"{", "more_body": True}], []

    async def receive() -> Any:
        if not pending:
            await asyncio.Event().wait()
        return pending.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(5):
        await browser.house.endpoint(scope, receive, send)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_notifications_of_a_modern_client_are_accepted_and_responses_are_not(browser: Any) -> None:
    headers = {"mcp-protocol-version": MODERN}
    told = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    assert (await browser.send(told, headers=headers)).status == 202
    assert (await browser.send(told, headers={"mcp-protocol-version": "2031-01-01"})).error["code"] == -32022
    answer = {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert (await browser.send(answer, headers=headers)).status == 400
    assert (await browser.send(answer)).status == 202


async def test_a_client_that_leaves_in_the_middle_of_a_stream_cancels(browser: Any, house: Any) -> None:
    leave = asyncio.Event()

    @house.calc.mcp.tool()
    async def begin_and_hang(ctx: Context) -> str:
        """Reports progress, then never ends."""
        await ctx.report_progress(1, 2, "half")
        house.calc.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            house.calc.cancelled.set()
        return ""

    await house.registry.restart("calc")
    asked = {"name": "calc.begin_and_hang", "arguments": {}}
    calling = asyncio.create_task(browser.modern("tools/call", asked, meta={"progressToken": 1}, leave=leave))
    async with asyncio.timeout(5):
        await house.calc.started.wait()
        leave.set()
        await house.calc.cancelled.wait()
        response = await calling
    assert [message["params"]["message"] for message in response.events] == ["half"]
    await house.audit.close()
    assert house.outcomes() == ["cancelled"]


async def test_methods_that_do_not_exist_are_said_not_to(browser: Any) -> None:
    for method in ("ping", "resources/subscribe", "logging/setLevel", "no/such"):
        response = await browser.modern(method)
        assert (response.status, response.error["code"]) == (404, -32601)
    assert (await browser.legacy("server/discover")).error["code"] == -32601
    for method in ("GET", "DELETE", "PUT"):
        response = await browser.send(method=method, headers={"mcp-protocol-version": MODERN})
        assert (response.status, response.headers["allow"]) == (405, "POST")
    assert (await browser.send(method="PUT")).status == 405
    assert (await browser.send({}, path="/elsewhere")).status == 404


async def test_a_call_whose_headers_contradict_its_body_is_refused_and_recorded(browser: Any, house: Any) -> None:
    response = await browser.modern("tools/call", ADD, headers={"mcp-name": "calc.erase"})
    assert (response.status, response.error["code"]) == (400, -32020)
    asked = {"name": "calc.region", "arguments": {"region": "EU"}}
    assert (await browser.modern("tools/call", asked)).error["code"] == -32020
    assert (await browser.modern("tools/call", asked, headers={"mcp-param-region": "US"})).error["code"] == -32020
    assert house.outcomes() == ["invalid"] * 3
    good = await browser.modern("tools/call", asked, headers={"mcp-param-region": "EU"})
    assert good.json["result"]["content"][0]["text"] == "EU"


async def test_a_call_that_cannot_be_read_is_refused_and_recorded(browser: Any, house: Any) -> None:
    for params in ({"name": 7, "arguments": {}}, {"name": "calc.add", "arguments": [1]}, {}):
        for send in (browser.legacy, browser.modern):
            headers = {"mcp-name": str(params["name"])} if "name" in params else {}
            response = await send("tools/call", params, headers=headers)
            assert response.error["code"] in (-32602, -32020)
    assert house.outcomes() == ["invalid"] * 6


async def test_an_error_of_the_server_passes_through_as_it_is(browse: Any, furnish: Any) -> None:
    from workbench.registry.connection import RpcError

    class Refusing:
        transport = "memory"
        era, server_info, capabilities, instructions = MODERN, {}, {"tools": {}}, ""
        on_notification, alive = None, True

        async def open(self) -> None: ...
        async def close(self) -> None: ...

        async def request(self, method: str, params: JSON, **_: Any) -> JSON:
            if method == "tools/call":
                raise RpcError(-32021, "needs sampling", {"requiredCapabilities": {"sampling": {}}})
            return {"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]}

    browser = browse(await furnish(servers={"asker": Refusing()}))
    response = await browser.modern("tools/call", {"name": "asker.ask"})
    assert (response.status, response.error["code"]) == (400, -32021)
    assert response.error["data"] == {"requiredCapabilities": {"sampling": {}}}
    assert (await browser.legacy("tools/call", {"name": "asker.ask"})).status == 200


async def test_the_trace_of_the_client_goes_on(browser: Any, house: Any) -> None:
    trace, span = "a" * 32, "b" * 16
    await browser.modern("tools/call", ADD, meta={"traceparent": f"00-{trace}-{span}-01"})
    await browser.legacy("tools/call", ADD, headers={"traceparent": f"00-{trace}-{span}-01"})
    await browser.legacy("tools/call", ADD, headers={"traceparent": "00-" + "0" * 32 + "-x"})
    first, second, third = house.recorded()
    assert (
        (first["trace_id"], first["parent_span_id"]) == (second["trace_id"], second["parent_span_id"]) == (trace, span)
    )
    assert len({first["span_id"], second["span_id"], span}) == 3
    assert third["trace_id"] not in (trace, "0" * 32)


async def test_listening_tells_of_changes_until_the_client_leaves(browser: Any, house: Any) -> None:
    leave, first = asyncio.Event(), asyncio.Event()
    wanted = {"notifications": {"toolsListChanged": True, "promptsListChanged": True}}
    announcements = house.endpoint._modern._announcements
    listening = asyncio.create_task(browser.modern("subscriptions/listen", wanted, id=9, leave=leave))
    async with asyncio.timeout(5):
        while not announcements._streams:  # noqa: ASYNC110 - the stream has no other sign
            await asyncio.sleep(0.005)
        for heard in house.registry.on_change:
            heard()
        await asyncio.sleep(0)
        first.set()
        leave.set()
        response = await listening
    acknowledged, changed = response.events
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
    assert acknowledged["params"]["notifications"] == wanted["notifications"]
    assert changed["method"] == "notifications/tools/list_changed"
    assert changed["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": 9}
    assert not announcements._streams
    assert (await browser.modern("subscriptions/listen")).error["code"] == -32602


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["calc.add", "calc.erase", "calc.fail", "add", "", "calc."]) | json_values
metas = st.fixed_dictionaries(
    {},
    optional={
        "io.modelcontextprotocol/protocolVersion": st.sampled_from([MODERN, "2025-11-25"]) | json_values,
        "io.modelcontextprotocol/clientCapabilities": json_values,
        "progressToken": json_values,
        "traceparent": json_values,
        "workbench/approval": json_values,
    },
)
calls = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "method": st.just("tools/call")},
    optional={
        "id": st.integers(-5, 5) | st.text(max_size=3) | json_values,
        "params": st.fixed_dictionaries(
            {},
            optional={
                "name": names,
                "arguments": st.fixed_dictionaries({}, optional={"a": json_values, "b": json_values}) | json_values,
                "_meta": metas | json_values,
                "requestState": json_values,
            },
        )
        | json_values,
    },
)


@given(
    body=calls | json_values | st.lists(calls, max_size=3), version=st.sampled_from([None, MODERN, "2025-03-26", "x"])
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_body_leads_to_a_500_or_past_the_record(browser: Any, body: Any, version: str | None) -> None:
    before = len(browser.house.recorded())
    headers = {"mcp-protocol-version": version, "mcp-method": "tools/call", "mcp-name": "calc.add"}
    response = await browser.send(body, headers=headers)
    assert response.status in (200, 202, 400, 403, 404, 429)
    answers = response.json if response.body else []
    answers = answers if isinstance(answers, list) else [answers]
    messages = body if isinstance(body, list) else [body]
    # whatever answered a call with something else than "this is no message" is on the record
    answered = [a for a in answers if a.get("id") is not None]
    calls_made = [m for m in messages if isinstance(m, dict) and "id" in m and m.get("method") == "tools/call"]
    assert len(browser.house.recorded()) - before == len(answered) <= len(calls_made)
