"""JSON that is none by the standard, and what it is read as."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.upstream import lenient_json
from workbench.upstream.jsonrpc_messages import decode
from workbench.upstream.lenient_json import REPAIRED, decode_text, decode_values, note_repairs
from workbench.upstream.negotiation import NotMcpError

KINDS: dict[str, tuple[bytes, Any, list[str]]] = {
    "NaN": (b'{"a":NaN}', {"a": None}, [lenient_json.NOT_A_NUMBER]),
    "infinity": (b'{"a":[Infinity,-Infinity]}', {"a": [None, None]}, [lenient_json.NOT_A_NUMBER]),
    "beyond a double": (b'{"a":1e999}', {"a": None}, [lenient_json.TOO_LARGE]),
    "lone surrogate": (rb'{"a":"x\ud800y"}', {"a": "x\ufffdy"}, [lenient_json.LONE_SURROGATE]),
    "surrogates the wrong way round": (rb'{"a":"\ude00\ud83d"}', {"a": "\ufffd\ufffd"}, [lenient_json.LONE_SURROGATE]),
    "lone surrogate in a name": (rb'{"\udc00":1}', {"\ufffd": 1}, [lenient_json.LONE_SURROGATE]),
    "surrogates in UTF-8": (b'{"a":"\xed\xa0\xbd\xed\xb8\x80"}', {"a": "\U0001f600"}, []),
    "Latin-1": (b'{"a":"caf\xe9 M\xfcnchen"}', {"a": "café München"}, [lenient_json.NOT_UTF8]),
    "Windows-1252": (b'{"a":"\x80 \x93q\x94"}', {"a": "€ “q”"}, [lenient_json.NOT_UTF8]),
    "UTF-8 and Latin-1": ('{"a":"ü'.encode() + b'\xfc"}', {"a": "üü"}, [lenient_json.NOT_UTF8]),
    "a byte that no code page has": (b'{"a":"\x81"}', {"a": "\x81"}, [lenient_json.NOT_UTF8]),
    "byte order mark": (b'\xef\xbb\xbf{"a":1}', {"a": 1}, []),
    "UTF-16": ('{"a":"é"}'.encode("utf-16"), {"a": "é"}, []),
    "UTF-16, big-endian": ('{"a":1}'.encode("utf-16-be"), {"a": 1}, []),
    "control characters": (b'{"a":"x\ty\x01"}', {"a": "x\ty\x01"}, []),
    "many digits": (b'{"a":' + b"9" * 5000 + b"}", {"a": "9" * 5000}, [lenient_json.TOO_LONG]),
    "ends with NUL": (b'{"a":1}\0\0', {"a": 1}, []),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_slip_is_read_and_noted(kind: str) -> None:
    data, value, repairs = KINDS[kind]
    assert decode_values(data) == ([value], "", repairs)
    assert decode(data, "s") == value


def test_repairs_stand_in_the_meta_of_a_result() -> None:
    message = decode(b'{"jsonrpc":"2.0","id":1,"result":{"_meta":{"x":1},"structuredContent":{"mean":NaN}}}', "s")
    assert message["result"]["structuredContent"] == {"mean": None}
    assert message["result"]["_meta"] == {"x": 1, REPAIRED: [lenient_json.NOT_A_NUMBER]}
    assert note_repairs({"method": "x"}, ["a"]) == {"method": "x"}
    assert note_repairs({"result": {"_meta": None}}, ["a"]) == {"result": {"_meta": {REPAIRED: ["a"]}}}


@pytest.mark.parametrize("data", [b"", b"{", b"{} {}", b"hello", b'{"a":1} b', b"[" * 100_000])
def test_what_has_no_certain_meaning_is_refused(data: bytes) -> None:
    with pytest.raises(NotMcpError, match="broken JSON"):
        decode(data, "s")


@given(st.binary(max_size=200))
def test_text_comes_of_any_bytes(data: bytes) -> None:
    text, _ = decode_text(data)
    text.encode("utf-8", "surrogatepass")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()))
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(st.dictionaries(st.text(), values))
def test_whatever_python_writes_as_json_can_be_read_and_written_as_json(value: dict[str, Any]) -> None:
    found = decode(json.dumps(value).encode(), "s")
    json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
