"""Spans and metrics say the same as the record, in the names of the conventions, and nothing that a person sent."""

from __future__ import annotations

import gzip
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from workbench.client import Workbench
from workbench.platform import telemetry as module
from workbench.platform.housekeeping import Housekeeping
from workbench.platform.platform import Platform
from workbench.platform.telemetry import Telemetry, default_resource, derived_span_id, open_telemetry, wanted

TRACE, SPAN = "a" * 31 + "1", "b" * 15 + "1"


class Seen:
    """Telemetry into memory."""

    def __init__(self) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        resource = default_resource()
        metrics = MeterProvider([self.reader], resource)
        self.telemetry = Telemetry(SimpleSpanProcessor(self.exporter), metrics, resource)

    def spans(self, name: str = "") -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith(name)]

    def metrics(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        found = data.resource_metrics[0].scope_metrics[0].metrics
        return {metric.name: list(metric.data.data_points) for metric in found}


@pytest.fixture
def seen(platform: Platform) -> Iterator[Seen]:
    found = Seen()
    platform.audit.on_record.append(found.telemetry.take)
    yield found
    platform.audit.on_record.remove(found.telemetry.take)


def ids(span: ReadableSpan) -> tuple[str, str, str]:
    assert span.context is not None
    parent = f"{span.parent.span_id:016x}" if span.parent else ""
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent


def test_a_call_has_the_ids_of_its_record_and_spans_for_policy_and_upstream(wb: Workbench, seen: Seen) -> None:
    wb.call("crm.search_customers", query="smith")
    [call] = seen.spans("execute_tool crm.search_customers")
    row = wb.sql(
        "select trace_id, span_id, request_id, latency_us, upstream_us from tool_calls order by ts desc limit 1"
    ).iloc[0]
    assert ids(call)[:2] == (row["trace_id"], row["span_id"])
    assert call.end_time is not None
    assert call.start_time is not None
    assert call.end_time - call.start_time == row["latency_us"] * 1000
    attributes = dict(call.attributes or {})
    assert attributes["gen_ai.operation.name"] == "execute_tool"
    assert attributes["gen_ai.tool.name"] == "crm.search_customers"
    assert attributes["workbench.request_id"] == row["request_id"]
    assert "error.type" not in attributes
    [policy], [upstream] = seen.spans("policy"), seen.spans("tools/call search_customers")
    for inner in (policy, upstream):
        assert ids(inner)[0] == row["trace_id"]
        assert ids(inner)[2] == row["span_id"]
    assert (policy.attributes or {})["workbench.policy.decision"] == "allow"
    assert upstream.kind.name == "CLIENT"


def test_nothing_that_was_sent_or_answered_is_exported(wb: Workbench, seen: Seen) -> None:
    wb.call("crm.search_customers", query="extraordinary-word")
    wb.ask("How many extraordinary-word customers are there?", provider="planner")
    assert seen.spans()
    assert "extraordinary-word" not in "".join(span.to_json() for span in seen.spans())


def test_failures_are_errors_with_the_outcome_as_their_type(wb: Workbench, seen: Seen) -> None:
    wb.call("crm.search_customers", query=["no", "text"])
    wb.call("nowhere.nothing")
    invalid, unknown = seen.spans("execute_tool")
    assert (invalid.attributes or {})["error.type"] == "invalid"
    assert (unknown.attributes or {})["error.type"] == "not_found"
    assert unknown.status.status_code.name == "ERROR"
    assert not any("nothing" in str(p.attributes) for points in seen.metrics().values() for p in points)


def test_a_question_is_a_tree_of_agent_turns_and_tools(wb: Workbench, seen: Seen) -> None:
    run = wb.ask("How many customers are there?", provider="planner")
    [agent] = seen.spans("invoke_agent")
    trace, root, parent = ids(agent)
    assert parent == ""
    assert root == derived_span_id(run.id)
    chats, tools = seen.spans("chat"), seen.spans("execute_tool")
    assert chats
    assert tools
    assert {ids(span)[0] for span in (*chats, *tools)} == {trace}
    assert {ids(span)[2] for span in (*chats, *tools)} == {root}
    attributes = dict(agent.attributes or {})
    assert attributes["gen_ai.conversation.id"] == run.id
    assert attributes["gen_ai.provider.name"] == "planner"


def test_both_eras_continue_the_trace_of_their_client(wb: Workbench, platform: Platform, seen: Seen, api: Any) -> None:
    parent = f"00-{TRACE}-{SPAN}-01"
    call = {"name": "crm.search_customers", "arguments": {"query": "smith"}}
    accept = {"Accept": "application/json, text/event-stream"}
    modern = {
        "protocolVersion": "2026-07-28", "clientInfo": {"name": "t", "version": "1"}, "clientCapabilities": {},
    }  # fmt: skip
    meta = {f"io.modelcontextprotocol/{key}": value for key, value in modern.items()}
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {**call, "_meta": {**meta, "traceparent": parent}},
    }
    headers = {
        **accept, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": call["name"],
    }  # fmt: skip
    assert api("POST", "/mcp", json=body, headers=headers).status_code == 200
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    begun = api(
        "POST", "/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}, headers=accept
    )
    session = {**accept, "Mcp-Session-Id": begun.headers["mcp-session-id"], "MCP-Protocol-Version": "2025-06-18"}
    body = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}
    assert api("POST", "/mcp", json=body, headers={**session, "traceparent": parent}).status_code == 200
    spans = seen.spans("tools/call crm.search_customers")
    assert [(ids(span)[0], ids(span)[2], span.kind.name) for span in spans] == [(TRACE, SPAN, "SERVER")] * 2
    versions = [(span.attributes or {})["mcp.protocol.version"] for span in spans]
    assert versions == ["2026-07-28", "2025-06-18"]
    found = wb.sql("select count(*) as n from tool_calls where trace_id = ? and parent_span_id = ?", [TRACE, SPAN])
    assert found["n"][0] == 2


def test_durations_and_tokens_are_measured_in_the_units_of_the_conventions(wb: Workbench, seen: Seen) -> None:
    wb.call("crm.search_customers", query="smith")
    wb.ask("How many customers are there?", provider="planner")
    found = seen.metrics()
    assert {"gen_ai.execute_tool.duration", "mcp.client.operation.duration", "gen_ai.invoke_agent.duration",
            "gen_ai.client.operation.duration", "gen_ai.client.token.usage"} <= set(found)  # fmt: skip
    [point] = [
        p for p in found["gen_ai.execute_tool.duration"] if p.attributes["gen_ai.tool.name"] == "crm.search_customers"
    ][:1]
    assert point.count >= 1
    assert 0 < point.sum < 30


def test_turns_of_runs_that_never_end_are_forgotten(seen: Seen) -> None:
    for number in range(module._MAX_RUNS + 3):
        turn = {"kind": "turn", "run_id": f"r{number}", "timestamp": 1, "data": {"turn": 0}}
        seen.telemetry.take("t", turn)
    assert list(seen.telemetry._turns) == [f"r{number + 3}" for number in range(module._MAX_RUNS)]


# --- on and off -------------------------------------------------------------------------


def test_it_is_off_unless_the_environment_names_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in module.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    assert open_telemetry() is None
    assert wanted({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"})
    assert not wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"})


def test_missing_packages_are_said_and_do_not_stop_anything(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert open_telemetry() is None
    assert "mcp-research-workbench[otel]" in caplog.text


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes OTLP over HTTP in."""

    spans: list[Any]
    paths: set[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        type(self).paths.add(self.path)
        if self.path == "/v1/traces":
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                names = {a.key: a.value.string_value for a in resource.resource.attributes}
                type(self).spans += [(names["service.name"], s) for scope in resource.scope_spans for s in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


def test_a_collector_gets_spans_and_metrics_over_otlp(
    wb: Workbench, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    Collector.spans, Collector.paths = [], set()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "our-gateway")

        async def run() -> None:
            upkeep = Housekeeping(platform)
            upkeep.start()
            await platform.call(_call(platform))
            await upkeep.stop()
            assert upkeep.telemetry is None

        wb._loop.portal.call(run)
        server.shutdown()
        thread.join()
    assert {(service, span.name) for service, span in Collector.spans} >= {
        ("our-gateway", "execute_tool crm.search_customers"),
        ("our-gateway", "tools/call search_customers"),
    }
    assert {"/v1/traces", "/v1/metrics"} <= Collector.paths


def _call(platform: Platform) -> Any:
    from workbench.events import Call

    return Call(caller=platform.access.local_caller(), tool="crm.search_customers", arguments={"query": "smith"})
