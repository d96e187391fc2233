"""The columns of the record: what a line of JSON holds, and how it appears in SQL and in Parquet."""

from __future__ import annotations

from typing import NamedTuple

FIELDS = {
    "seq": "BIGINT",
    "kind": "VARCHAR",
    "event_id": "VARCHAR",
    "timestamp": "BIGINT",
    "tenant": "VARCHAR",
    "user": "VARCHAR",
    "credential": "VARCHAR",
    "tool": "VARCHAR",
    "server": "VARCHAR",
    "args_redacted": "JSON",
    "response_redacted": "JSON",
    "outcome": "VARCHAR",
    "error_code": "VARCHAR",
    "error_message": "VARCHAR",
    "latency_us": "BIGINT",
    "upstream_us": "BIGINT",
    "source": "VARCHAR",
    "protocol": "VARCHAR",
    "session_id": "VARCHAR",
    "request_id": "VARCHAR",
    "run_id": "VARCHAR",
    "step_id": "VARCHAR",
    "trace_id": "VARCHAR",
    "span_id": "VARCHAR",
    "parent_span_id": "VARCHAR",
    "policy_decision": "VARCHAR",
    "policy_rule": "VARCHAR",
    "policy_reason": "VARCHAR",
    "policy_revision": "VARCHAR",
    "policy_engine": "VARCHAR",
    "policy_us": "BIGINT",
    "missing_scopes": "VARCHAR[]",
    "approval_id": "VARCHAR",
    "redactions": "BIGINT",
    "result_bytes": "BIGINT",
    "definition_hash": "VARCHAR",
    "args_sha256": "VARCHAR",
    "data": "JSON",
}
"""Fields of a JSON line that SQL reads. Their types are never guessed: a guess fails on some later line."""


class RecordColumn(NamedTuple):
    """One column of `events`."""

    name: str
    type: str
    source: str
    """Expression over the fields of a line."""
    meaning: str


_BARE = (
    "CASE WHEN starts_with(tool, server || '.') THEN substr(tool, length(server) + 2) ELSE tool END"  # both may be NULL
)


def _same(name: str, meaning: str) -> RecordColumn:
    return RecordColumn(name, FIELDS[name], name, meaning)


COLUMNS = (
    RecordColumn("ts", "TIMESTAMP", 'make_timestamp("timestamp")', "When it was recorded, UTC."),
    _same("kind", "What kind of record this is: call, intent, run, turn, approval, metric and so on."),
    _same("tenant", "Whose record it is."),
    RecordColumn("user_id", "VARCHAR", '"user"', "The person or program that acted, unique within the tenant."),
    _same("server", "Id of the server."),
    RecordColumn("tool", "VARCHAR", _BARE, "Name of the tool as its server calls it."),
    RecordColumn("qualified", "VARCHAR", "tool", "Name of the tool as callers see it: server.tool."),
    _same("outcome", "How it ended: ok, tool_error, invalid, not_found, denied, throttled, timeout and so on."),
    _same("latency_us", "Microseconds from receipt to answer, everything included."),
    _same("upstream_us", "Of that, microseconds spent waiting for the server."),
    _same("error_code", "Code of the failure; empty when it went well."),
    _same("error_message", "What went wrong, for a person."),
    RecordColumn("args", "VARCHAR", "args_redacted", "Arguments after redaction, as JSON text."),
    RecordColumn("result", "VARCHAR", "response_redacted", "The answer after redaction, as JSON text."),
    _same("source", "The door it came through: mcp, rest, cli, notebook, app, agent, load."),
    _same("protocol", "MCP revision spoken by the client."),
    _same("credential", "Id of the key or token that was used; never the secret."),
    _same("session_id", "Session of the client."),
    _same("request_id", "Id of the call; intent and outcome of one call share it."),
    _same("run_id", "The question (or load run) it belongs to."),
    _same("step_id", "The step within the run."),
    _same("trace_id", "W3C trace id, 32 hex digits."),
    _same("span_id", "W3C span id, 16 hex digits."),
    _same("parent_span_id", "Span that caused this one."),
    _same("policy_decision", "What policy said: allow, deny, or approval (allowed only with a human's approval)."),
    _same("policy_rule", "The rule that decided."),
    _same("policy_reason", "Why, for a person."),
    _same("policy_revision", "Hash of the policy that decided."),
    _same("policy_engine", "The engine that evaluated it."),
    _same("policy_us", "Microseconds the decision took."),
    _same("missing_scopes", "Scopes that the caller lacked."),
    _same("approval_id", "The approval that was asked for or used."),
    _same("redactions", "How many values were redacted."),
    _same("result_bytes", "Size of the answer in bytes."),
    _same("definition_hash", "Hash of the tool's definition when it was called."),
    _same("args_sha256", "SHA-256 of the canonical JSON of the arguments as sent."),
    RecordColumn("data", "VARCHAR", "data", "What only this kind of record has, as JSON text."),
    _same("event_id", "Id of this record (UUIDv7)."),
    RecordColumn("writer", "VARCHAR", "parse_filename(filename)[:24]", "The process that wrote it."),
    RecordColumn("seq", "BIGINT", "seq", "Its place in the chain of its tenant and writer."),
)
"""Columns of `events` and of the Parquet files, in order."""


def quoted(text: str) -> str:
    """`text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def select_lines(files: list[str], *, filename: bool = False) -> str:
    """SQL that reads JSON lines as `events`.

    A malformed line is skipped: a growing file has a torn last line more often than not. The compactor compares the
    number of lines with the seal.

    Args:
        files: paths or patterns; at least one.
        filename: add the column `filename`, and accept patterns that match nothing.
    """
    fields = ", ".join(f"{quoted(name)}: {quoted(kind)}" for name, kind in FIELDS.items())
    columns = ", ".join(f'CAST({c.source} AS {c.type}) AS "{c.name}"' for c in COLUMNS)
    return (
        f"SELECT {columns}{', filename' if filename else ''} FROM read_json([{', '.join(map(quoted, files))}], "
        f"format='newline_delimited', columns={{{fields}}}, ignore_errors=true, filename=true"
        f"{', allow_empty=true' if filename else ''}) WHERE seq IS NOT NULL"
    )


def select_parquet(files: list[str], *, filename: bool = False) -> str:
    """SQL that reads lake files as `events`. A column that an older file lacks is NULL.

    Args:
        files: paths or patterns; at least one.
        filename: add the column `filename`, and accept patterns that match nothing.
    """
    columns = ", ".join(f'"{c.name}"' for c in COLUMNS)
    return (
        f"SELECT {columns}{', filename' if filename else ''} FROM read_parquet([{', '.join(map(quoted, files))}], "
        f"union_by_name=true, hive_partitioning=false{', filename=true, allow_empty=true' if filename else ''})"
    )


def select_nothing() -> str:
    """SQL that gives no row, with the right types."""
    columns = ", ".join(f'CAST(NULL AS {c.type}) AS "{c.name}"' for c in COLUMNS)
    return f"SELECT {columns} WHERE false"
