"""The management API: the same tokens and rules as everything else, and errors that say what to do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.bench.conftest import Api
from workbench.platform.platform import Platform


def test_health_is_open_and_says_nothing_else(api: Api) -> None:
    answer = api("GET", "/health", token=None)
    assert answer.status_code == 200
    assert set(answer.json()) == {"status", "version"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/status"), ("GET", "/servers"), ("GET", "/metrics"), ("GET", "/api/platform/servers"),
        ("GET", "/api/platform/tools"), ("POST", "/api/platform/call"), ("POST", "/api/platform/query"),
        ("GET", "/api/platform/audit"), ("GET", "/api/platform/approvals"), ("POST", "/servers"),
        ("DELETE", "/servers/crm"), ("POST", "/api/platform/servers/crm/restart"), ("GET", "/api/platform/providers"),
        ("POST", "/api/platform/approvals/x"), ("POST", "/api/platform/runs/x/cancel"),
        ("POST", "/api/platform/load-runs"), ("POST", "/api/platform/servers/reload"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("token", [None, "mk_wrong_wrong", "x" * 5000])
def test_nothing_else_is(api: Api, method: str, path: str, token: str | None) -> None:
    answer = api(method, path, token=token)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["error"]["kind"] == "Unauthenticated"
    assert "mk_wrong" not in answer.text


def test_a_key_without_the_scope_gets_403_naming_it(api: Api, platform: Platform) -> None:
    _, secret = platform.access.create_key("eve", roles=["viewer"])
    answer = api("POST", "/servers", token=secret, json={"id": "x", "url": "http://127.0.0.1:1/mcp"})
    assert answer.status_code == 403
    assert "servers:manage" in answer.json()["error"]["message"]
    assert 'scope="servers:manage"' in answer.headers["www-authenticate"]


def test_servers_and_tools_are_listed(api: Api) -> None:
    servers = api("GET", "/api/platform/servers").json()["servers"]
    assert {s["id"]: s["status"] for s in servers} == {"crm": "ready", "tickets": "ready", "payments": "ready"}
    tools = api("GET", "/api/platform/tools", params={"q": "find a customer by email", "limit": 3}).json()["tools"]
    assert tools[0]["server"] == "crm"
    assert len(tools) == 3


def test_a_call_is_answered_and_recorded(api: Api) -> None:
    answer = api("POST", "/api/platform/call", json={"tool": "crm.search_customers", "arguments": {"query": "smith"}})
    assert answer.status_code == 200
    outcome = answer.json()
    assert outcome["kind"] == "ok"
    rows = api("GET", "/api/platform/audit", params={"limit": 50}).json()["calls"]
    assert all(row["ts"].endswith("Z") for row in rows)
    row = next(r for r in rows if r["request_id"] == outcome["call"])
    assert (row["server"], row["tool"], row["outcome"], row["source"]) == ("crm", "search_customers", "ok", "rest")


@pytest.mark.parametrize(
    ("body", "status", "kind", "said"),
    [
        ({"tool": "crm.serch_customers"}, 404, "not_found", "crm.search_customers"),
        ({"tool": "crm.search_customers", "arguments": {"limit": "many"}}, 422, "invalid", "limit"),
        ({"tool": "crm.get_customer", "arguments": {}}, 422, "invalid", "customer_id"),
        ({"tool": "crm.get_customer", "arguments": {"customer_id": "C-99999"}}, 200, "tool_error", "C-99999"),
    ],
)
def test_what_goes_wrong_is_an_outcome_with_a_status(
    api: Api, body: dict[str, object], status: int, kind: str, said: str
) -> None:
    answer = api("POST", "/api/platform/call", json=body)
    assert (answer.status_code, answer.json()["kind"]) == (status, kind)
    assert said in answer.json()["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"tool": 5}', b'{"tool": "a.b", "timeout_s": -1}'])
def test_a_body_that_cannot_be_read_names_the_path(api: Api, body: bytes) -> None:
    answer = api("POST", "/api/platform/call", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "body" in answer.json()["error"]["message"]


def test_an_unknown_path_is_a_404_in_the_same_form(api: Api) -> None:
    answer = api("GET", "/api/platform/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"]["hint"] == "See /docs."


def test_a_launch_command_in_a_registration_is_refused(api: Api) -> None:
    body = {"id": "evil", "url": "http://127.0.0.1:1/mcp", "command": ["sh", "-c", "true"]}
    answer = api("POST", "/servers", json=body)
    assert answer.status_code == 422
    assert "command" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/mcp", "file:///etc/passwd", "http://127.0.0.1:9/mcp", "nonsense"]
)
def test_a_registration_of_an_inner_address_is_refused(api: Api, url: str) -> None:
    answer = api("POST", "/servers", json={"id": "inner", "url": url})
    assert answer.status_code == 400, answer.text
    assert "inner" not in {s["id"] for s in api("GET", "/servers").json()["servers"]}


def test_a_question_streams_its_steps_and_ends_with_the_answer(api: Api) -> None:
    body = {"question": "What is the account status of john.smith@acme.com?", "provider": "planner", "stream": True}
    answer = api("POST", "/api/platform/query", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    kinds = [e["event"] for e in events]
    assert kinds[0] == "RunStarted"
    assert kinds[-1] == "RunDone"
    assert "ToolDone" in kinds
    assert "past" in events[-1]["answer"].lower()


def test_a_question_can_be_answered_as_one_document(api: Api) -> None:
    body = {"question": "How many support tickets are open, by priority?", "provider": "planner"}
    answer = api("POST", "/api/platform/query", json=body).json()
    assert answer["status"] == "answered", answer["message"]
    rows = api("GET", "/api/platform/audit", params={"limit": 100}).json()["calls"]
    assert answer["run"] in {r["run_id"] for r in rows}


def test_an_unknown_provider_says_which_there_are(api: Api) -> None:
    answer = api("POST", "/api/platform/query", json={"question": "x", "provider": "skynet"})
    assert answer.status_code == 400
    assert "planner" in answer.text


def test_rows_of_the_record_can_be_chosen_by_user_and_time(api: Api) -> None:
    assert api("GET", "/api/platform/audit", params={"userId": "nobody"}).json()["calls"] == []
    assert api("GET", "/api/platform/audit", params={"to": "2020-01-01"}).json()["calls"] == []
    assert api("GET", "/api/platform/audit", params={"from": "2020-01-01", "limit": 1}).json()["calls"]
    assert api("GET", "/api/platform/audit", params={"from": "yesterday-ish"}).status_code == 400
    assert api("GET", "/api/platform/audit", params={"limit": 0}).status_code == 422


def test_the_openapi_document_describes_every_route(api: Api) -> None:
    paths = api("GET", "/openapi.json", token=None).json()["paths"]
    assert "/api/platform/query" in paths
    assert "/servers" in paths
    page = api("GET", "/docs", token=None)
    assert page.status_code == 200
    assert "cdn" not in page.text


def test_another_tenant_sees_nothing_of_ours(api: Api, platform: Platform) -> None:
    api("POST", "/api/platform/call", json={"tool": "crm.search_customers", "arguments": {"query": "smith"}})
    _, secret = platform.access.create_key("mallory", roles=["owner"], tenant="globex")
    assert api("GET", "/api/platform/audit", token=secret).json()["calls"] == []
    assert api("GET", "/api/platform/approvals", token=secret).json()["approvals"] == []


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
def test_a_foreign_host_or_origin_is_turned_away(api: Api, headers: dict[str, str]) -> None:
    assert api("GET", "/health", headers=headers).status_code in (403, 421)


def test_a_page_of_an_accepted_origin_can_read_every_answer(api: Api) -> None:
    page = {"Host": "localhost:8123", "Origin": "http://localhost:8123"}
    asked = {**page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for path in ("/mcp", "/status", "/api/platform/call", "/.well-known/oauth-protected-resource/mcp"):
        answer = api("OPTIONS", path, token=None, headers=asked)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, page["Origin"]), path
        assert answer.headers["access-control-allow-headers"] == "authorization"
        for token in ("", None):
            answer = api("GET", path, headers=page, token=token)
            assert answer.headers["access-control-allow-origin"] == page["Origin"], path
    refused = api("OPTIONS", "/status", token=None, headers={**asked, "Origin": "http://localhost:8124"})
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers


def test_metrics_count_calls(api: Api) -> None:
    api("POST", "/api/platform/call", json={"tool": "crm.search_customers", "arguments": {"query": "smith"}})
    text = api("GET", "/metrics").text
    assert 'workbench_calls_total{outcome="ok",server="crm",tool="crm.search_customers"}' in text
    assert "workbench_call_seconds_bucket" in text
    assert 'workbench_server_up{server="crm"} 1.0' in text


UNREADABLE = [
    (b'{"tool": "crm.get_customer", "arguments": {"customer_id": "\\ud800"}}', "not JSON"),
    (b'{"tool": "crm.get_customer", "tool": "crm.search_customers"}', "twice"),
    (b'{"tool": "crm.get_customer", "arguments": {"customer_id": 123456789012345678901234567890}}', "portable"),
    (b'{"tool": "crm.get_customer", "arguments": {"customer_id": NaN}}', "not JSON"),
    (b'{"tool": "crm.get_customer", "arguments": {"a": ' + b"[" * 80 + b"]" * 80 + b"}}", "deeper"),
    (b'{"tool": "crm.get_customer", "arguments": "C-1"}', "dictionary"),
]


@pytest.mark.parametrize(("body", "said"), UNREADABLE, ids=["surrogate", "twice", "huge", "nan", "deep", "no object"])
def test_a_call_that_cannot_be_meant_is_refused_and_recorded(
    api: Api, platform: Platform, body: bytes, said: str
) -> None:
    _, secret = platform.access.create_key("odd", roles=["owner"], tenant=said.replace(" ", "-"))
    before = len(api("GET", "/api/platform/audit", token=secret).json()["calls"])
    answer = api("POST", "/api/platform/call", token=secret, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["error"]["message"]
    rows = api("GET", "/api/platform/audit", token=secret).json()["calls"]
    assert len(rows) == before + 1
    assert (rows[0]["server"], rows[0]["outcome"], rows[0]["user_id"]) == ("crm", "invalid", "odd")


def test_a_body_is_measured_before_it_is_read(api: Api, platform: Platform) -> None:
    most = platform.settings.max_request_bytes
    for content in (b" " * (most + 1), (b" " * (1 << 20) for _ in range(most // (1 << 20) + 2))):
        body = _chunks(content) if not isinstance(content, bytes) else content
        answer = api("POST", "/api/platform/call", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert "max_request_bytes" in answer.json()["error"]["hint"]


async def _chunks(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def test_a_fault_is_said_to_be_one_with_an_id_that_is_in_the_log(
    api: Api, platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr(platform, "status", broken)
    answer = api("GET", "/status")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["kind"] == "Bug"
    assert "fault of the platform" in error["message"]
    assert error["id"] in caplog.text
    assert "ZeroDivisionError: inside" in caplog.text


def test_a_fault_in_a_run_ends_its_stream_with_the_same_words(
    api: Api, platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*args: object, **more: object) -> AsyncIterator[object]:
        raise ZeroDivisionError
        yield

    monkeypatch.setattr(platform, "ask", broken)
    answer = api("POST", "/api/platform/query", json={"question": "x", "stream": True})
    error = json.loads(answer.text.removeprefix("data: "))["error"]
    assert (error["kind"], error["id"] in caplog.text) == ("Bug", True)


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/servers/cmr"), ("POST", "/api/platform/servers/cmr/restart")]
)
def test_a_server_that_is_not_there_is_a_404_with_a_suggestion(api: Api, method: str, path: str) -> None:
    answer = api(method, path)
    assert answer.status_code == 404
    assert "crm" in answer.json()["error"]["hint"]


@pytest.mark.parametrize("given", ["garbage", "2026-13-01", ""])
def test_a_time_that_does_not_read_says_what_was_expected(api: Api, given: str) -> None:
    error = api("GET", "/api/platform/audit", params={"from": given}).json()["error"]
    assert "Expected" in error["hint"]
    assert "cast" not in str(error).lower()
    assert "select" not in str(error).lower()
