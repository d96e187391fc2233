"""OpenTelemetry: spans and metrics made from what is written to the record, so that both always agree.

Off unless the environment names a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`, or that of traces or metrics) and the
packages of the extra `otel` are there. A call's span has the trace id and the span id that its line in the record has.
Nothing is exported that a person sent or got: no arguments, no answers, no questions.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workbench.bounded_dict import BoundedDict
from workbench.events import JSON, install_hint, new_span_id
from workbench.platform import telemetry_names as names
from workbench.provider_table import telemetry_name
from workbench.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor

_log = logging.getLogger(__name__)

ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)  # fmt: skip
_MAX_RUNS = 1000
"""Runs whose turns wait for the end of their run."""


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for telemetry."""
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and any(environment.get(name) for name in ENDPOINTS)


def open_telemetry() -> Telemetry | None:
    """Telemetry to the collector that the environment names; None when it names none, or the packages are missing."""
    if not wanted():
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as e:
        _log.warning("no telemetry is exported: %s. %s", e, install_hint("otel"))
        return None
    resource = default_resource()
    metrics = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource)
    return Telemetry(BatchSpanProcessor(OTLPSpanExporter()), metrics, resource)


def default_resource() -> Resource:
    """This program, unless the environment names it otherwise (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`)."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    ours = Resource({"service.name": "mcp-workbench", "service.version": __version__})
    return ours.merge(OTELResourceDetector().detect())


def derived_span_id(*parts: object) -> str:
    """The span id of a run or a turn: the same wherever it is worked out."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


class Telemetry:
    """Turns records into spans and measurements.

    Args:
        processor: gets every finished span.
        metrics: gets every measurement; it is shut down with us.
        resource: what the spans are about.
    """

    def __init__(self, processor: SpanProcessor, metrics: MeterProvider, resource: Resource) -> None:
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._processor = processor
        self._metrics = metrics
        self._resource = resource
        self._scope = InstrumentationScope("mcp-workbench", __version__)
        self._turns: BoundedDict[str, list[JSON]] = BoundedDict(_MAX_RUNS)
        meter = metrics.get_meter("mcp-workbench", __version__)
        durations = (
            names.SERVER_DURATION, names.CLIENT_DURATION, names.TOOL_DURATION, names.AGENT_DURATION,
            names.CHAT_DURATION,
        )  # fmt: skip
        self._measure = {
            name: meter.create_histogram(name, unit="s", explicit_bucket_boundaries_advisory=names.SECONDS)
            for name in durations
        }
        self._tokens = meter.create_histogram(names.TOKENS, unit="{token}")

    def take(self, tenant: str, record: JSON) -> None:
        """Take in one record; called by the log for every one of them, so it must be quick."""
        kind = record["kind"]
        if kind == "call":
            self._call(tenant, record)
        elif kind == "turn":
            self._turns.setdefault(record["run_id"], []).append(record)
        elif kind == "run":
            self._run(tenant, record)

    async def close(self) -> None:
        """Export what waits, and end."""
        await asyncio.to_thread(self._processor.shutdown)
        await asyncio.to_thread(self._metrics.shutdown)

    # --- calls ------------------------------------------------------------

    def _call(self, tenant: str, record: JSON) -> None:
        trace, span = record.get("trace_id"), record.get("span_id")
        latency_us = record.get("latency_us") or 0
        end = record["timestamp"] * 1000
        start = end - latency_us * 1000
        mcp = record.get("source") == "mcp"
        outcome, tool = record["outcome"], record.get("tool") or ""
        error = None if outcome == "ok" else outcome
        kept = {
            names.OPERATION: names.EXECUTE, names.TOOL: tool, names.METHOD: names.CALL if mcp else None,
            names.PROTOCOL: record.get("protocol"), names.SESSION: record.get("session_id"),
            names.CONVERSATION: record.get("run_id"), names.TENANT: tenant, names.USER: record.get("user"),
            names.SERVER: record.get("server"), names.SOURCE: record.get("source"),
            names.REQUEST: record.get("request_id"), names.OUTCOME: outcome,
            names.REDACTIONS: record.get("redactions") or None, names.ERROR: error,
        }  # fmt: skip
        exists = record.get("definition_hash") is not None  # names that clients make up must not become label values
        measured = {names.TOOL: tool if exists else None, names.ERROR: error}
        name = names.SERVER_DURATION if mcp else names.TOOL_DURATION
        self._record(name, latency_us, {**measured, names.METHOD: names.CALL if mcp else None})
        if record.get("upstream_us"):
            self._record(names.CLIENT_DURATION, record["upstream_us"], {**measured, names.METHOD: names.CALL})
        if not trace or not span:
            return
        run = record.get("run_id")
        parent = record.get("parent_span_id") or (derived_span_id(run) if run else None)
        operation = names.CALL if mcp else names.EXECUTE
        self._emit(
            f"{operation} {tool}".strip(), trace, span, parent, start, end, kept, "SERVER" if mcp else "INTERNAL"
        )
        if record.get("policy_rule"):
            decided = {
                names.DECISION: record.get("policy_decision"), names.RULE: record.get("policy_rule"),
                names.REVISION: record.get("policy_revision"),
            }  # fmt: skip
            until = start + (record.get("policy_us") or 0) * 1000
            self._emit(names.POLICY, trace, new_span_id(), span, start, until, decided, "INTERNAL")
        if record.get("upstream_us"):
            bare = tool.removeprefix(f"{record.get('server')}.")
            sent = {names.METHOD: names.CALL, names.TOOL: bare, names.SERVER: record.get("server"), names.ERROR: error}
            began = end - record["upstream_us"] * 1000
            self._emit(f"{names.CALL} {bare}", trace, new_span_id(), span, began, end, sent, "CLIENT")

    # --- questions ----------------------------------------------------------

    def _run(self, tenant: str, record: JSON) -> None:
        data, run = record["data"], record["run_id"]
        trace, span = record.get("trace_id"), derived_span_id(run)
        end = record["timestamp"] * 1000
        error = None if record["outcome"] == "answered" else record["outcome"]
        shared = _model(data)
        self._record(names.AGENT_DURATION, record.get("latency_us") or 0, {**shared, names.ERROR: error})
        for turn in self._turns.pop(run, []):
            self._turn(turn, trace, span)
        if not trace:
            return
        kept = {
            **shared, **_usage(data), names.OPERATION: names.INVOKE, names.AGENT: "workbench", names.CONVERSATION: run,
            names.TENANT: tenant, names.USER: record.get("user"), names.SOURCE: record.get("source"),
            names.OUTCOME: record["outcome"], names.COST: data.get("cost_usd"), names.ERROR: error,
        }  # fmt: skip
        start = end - (record.get("latency_us") or 0) * 1000
        self._emit(f"{names.INVOKE} workbench", trace, span, None, start, end, kept, "INTERNAL")

    def _turn(self, record: JSON, trace: str | None, parent: str) -> None:
        data, end = record["data"], record["timestamp"] * 1000
        shared = {**_model(data), names.OPERATION: names.CHAT}
        self._record(names.CHAT_DURATION, record.get("latency_us") or 0, shared)
        for kind, field in (("input", "input_tokens"), ("output", "output_tokens")):
            self._tokens.record(data.get(field) or 0, _present({**shared, names.TOKEN_TYPE: kind}))
        if trace:
            stop = [data["stop"]] if data.get("stop") else None
            kept = {**shared, **_usage(data), names.FINISH_REASONS: stop, names.CONVERSATION: record["run_id"]}
            start = end - (record.get("latency_us") or 0) * 1000
            span = derived_span_id(record["run_id"], data.get("turn"))
            self._emit(f"{names.CHAT} {data.get('model')}".strip(), trace, span, parent, start, end, kept, "CLIENT")

    # --- to the SDK -----------------------------------------------------------

    def _record(self, name: str, us: int, attributes: JSON) -> None:
        self._measure[name].record(us / 1e6, _present(attributes))

    def _emit(
        self, name: str, trace: str, span: str, parent: str | None, start: int, end: int, attributes: JSON, kind: str
    ) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        def context(span_id: str, remote: bool) -> SpanContext:
            return SpanContext(int(trace, 16), int(span_id, 16), remote, TraceFlags(TraceFlags.SAMPLED))

        error = attributes.get(names.ERROR)
        self._processor.on_end(
            ReadableSpan(
                name,
                context(span, False),
                context(parent, True) if parent else None,
                self._resource,
                _present(attributes),
                kind=SpanKind[kind],
                status=Status(StatusCode.ERROR if error else StatusCode.UNSET),
                start_time=start,
                end_time=end,
                instrumentation_scope=self._scope,
            )
        )


def _model(data: JSON) -> JSON:
    provider = data.get("provider")
    return {names.PROVIDER: telemetry_name(provider) if provider else provider, names.MODEL: data.get("model")}


def _usage(data: JSON) -> JSON:
    return {
        names.INPUT_TOKENS: data.get("input_tokens"), names.OUTPUT_TOKENS: data.get("output_tokens"),
        names.CACHED_TOKENS: data.get("cached_tokens") or None,
    }  # fmt: skip


def _present(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value not in (None, "")}
