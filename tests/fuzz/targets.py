"""What the fuzzers run: one function per parser of foreign bytes. It returns, or its assertion says what broke.

A target raises nothing for input that the parser refuses in the documented way. Everything else, and every broken
property, is a finding.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import orjson

from servers.tables.delimited import Unreadable, read_text
from workbench.agent.env_file import read_env_file
from workbench.endpoint.http.jsonrpc import BadMessageError, check_envelope, parse, request_id
from workbench.events import MisuseError, UnreachableError
from workbench.policy import Redactor
from workbench.policy.redaction import recognizers
from workbench.policy.rego.rego_guard import UnsuitableValueError, checked, lint, read_module
from workbench.policy.rego.rego_input import rego_input
from workbench.registry.configuration.mcp_json import read_mcp_json
from workbench.upstream.http.sse_parser import SseEvent, events

Target = Callable[[bytes], None]

CANARY = "canary.person@example.org"


def jsonrpc(data: bytes) -> None:
    """What is accepted has one meaning: the standard library reads the same value, and no key comes twice."""
    try:
        message = parse(data)
    except BadMessageError:
        return

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs), "an object with a key twice was accepted"
        return dict(pairs)

    assert same(json.loads(data, object_pairs_hook=unique), message)
    assert same(orjson.loads(orjson.dumps(message)), message), "the value cannot be passed on as it is"
    with contextlib.suppress(BadMessageError):
        checked_message = check_envelope(message)
        if "id" in checked_message:
            request_id(checked_message)


def sse(data: bytes) -> None:
    """Where the network cuts a stream makes no difference to its events."""
    whole = event_list([data])
    cut = len(data) // 3
    assert event_list([data[:cut], data[cut:]]) == whole
    assert event_list([data[i : i + 1] for i in range(len(data))]) == whole


def mcp_json(data: bytes) -> None:
    """A configuration is read, or refused with what to do; and no more servers come out than went in."""
    for name in ("mcp.json", "config.toml"):
        path = scratch() / name
        path.write_bytes(data)
        with contextlib.suppress(MisuseError):
            read_mcp_json(path, env={"HOME": "/home/user"})


def env_file(data: bytes) -> None:
    """Only what may be taken is taken."""
    (scratch() / ".env").write_bytes(data)
    found = read_env_file(scratch(), {"OPENAI_API_KEY"})
    assert found is not None
    assert set(found.keys) <= {"OPENAI_API_KEY"}
    assert all(value not in repr(found) for value in found.keys.values() if len(value) > 20)


def delimited(data: bytes) -> None:
    """A file is a table, or is refused; the engine is usable afterwards."""
    path = scratch() / "rows.csv"
    path.write_bytes(data)
    loader().execute("drop table if exists data")
    with contextlib.suppress(Unreadable, duckdb.Error):
        read_text(loader(), path, None)
    assert loader().execute("select 1").fetchone() == (1,)


def rego_document(data: bytes) -> None:
    """What the guard lets through, the engine takes; what it reads as a module, the lint can judge."""
    text = data.decode("utf-8", "replace")
    lint([read_module("fuzz.rego", text)], lambda name: name == "count")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return
    with contextlib.suppress(UnsuitableValueError):
        rego_input(checked(document))


def redaction(data: bytes) -> None:
    """A person's address never stands in what is kept, wherever it stood."""
    text = data.decode("utf-8", "replace")
    value: Any = [text, {text[:40]: f"{text} {CANARY} {text}"}]
    kept = redactor().record(value, "acme")
    assert CANARY not in json.dumps(kept), "an address is kept"


TARGETS: dict[str, Target] = {
    target.__name__: target for target in (jsonrpc, sse, mcp_json, env_file, delimited, rego_document, redaction)
}


# --- shared -------------------------------------------------------------------------------------------------------


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values that tells 1 from True and takes NaN for itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


class _Chunks:
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter([chunk for chunk in chunks if chunk])

    async def readany(self) -> bytes:
        return next(self._chunks, b"")


def event_list(chunks: list[bytes]) -> list[SseEvent] | str:
    async def read() -> list[SseEvent]:
        return [event async for event in events(_Chunks(chunks), max_bytes=1 << 20)]

    try:
        return asyncio.run(read())
    except UnreachableError as e:
        return str(e)


@cache
def scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="workbench-fuzz-"))


@cache
def loader() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


@cache
def redactor() -> Redactor:
    recognizers.shared().warm().join()  # until they are loaded, suspicious text is withheld whole
    return Redactor(scratch() / "home")
