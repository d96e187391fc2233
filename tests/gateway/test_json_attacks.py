"""Bodies that are no JSON, or that two programs read differently: refused in both eras, and never a fault of ours."""

from __future__ import annotations

from typing import Any

import pytest

MODERN = "2026-07-28"

NOT_JSON = [
    b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',  # a mark of byte order
    b'\x00{"jsonrpc":"2.0","id":1,"method":"ping"}',
    b'\x1e{"jsonrpc":"2.0","id":1,"method":"ping"}',
    b"\xa0{}",
    b")]}'{}",
    '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16"),
    '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16-le"),
    '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-32-be"),
    *(
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}' + rest
        for rest in (b"x", b"\x00", b"{}", b"]", b",", b"//", b"\xef\xbb\xbf", b'\n{"jsonrpc":"2.0","method":"ping"}')
    ),
    *(
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + value + b"}}"
        for value in (
            b"1e400", b"-1e400", b"1e" + b"9" * 3000, b"1" + b"0" * 4000 + b".0", b"9" * 5000, b"Infinity",
            b"-Infinity", b"nan", b"01", b"+1", b".5", b"5.", b"0x10", b"1_000", b"True", b"None", b"undefined",
            b"'x'", b"/**/1", b"1,", b'"\x01"', b'"\n"', b'"\\x41"', b'"\\u12"', b'"\\u{41}"',
            b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud800x"',  # half of a pair
            b'"\xed\xa0\x80"', b'"\xed\xa0\xbd\xed\xb8\x80"', b'"\xc0\xaf"', b'"\xe0\x80\xaf"',  # no UTF-8
            b'"\xf4\x90\x80\x80"', b'"\xf8\x88\x80\x80\x80"', b'"\xff"', b'"\xc3"',
        )
    ),
    b'{"\xc0\xae":1}', b'{"\\ud800":1}', b"{'a':1}", b"{a:1}", b"{1:2}", b"{null:1}", b'{"a" 1}', b'{"a":1 "b":2}',
]  # fmt: skip

TWO_VALUES = [
    b'{"\\u0061":1,"a":2}', b'{"a":1,"\\u0061":2}', b'{"b":{"a":1,"a":1}}', b'[{"a":1,"a":2}]', b'{"":1,"":2}',
    b'{"a:":1,"a:":2}', b'{"a":":","a":1}', b'{"a":1,"a":":"}', b'{"k":"\\u003a","a":":","a":":"}',
    b'{"\\ud83d\\ude00":1,"\xf0\x9f\x98\x80":2}', b'{"a":1,"a":1,"b":"::::"}', b'{"a\\/b":1,"a/b":2}',
    b"18446744073709551616", b"-9223372036854775809", b"[1,18446744073709551616]",
]  # fmt: skip


@pytest.mark.parametrize("body", NOT_JSON, ids=lambda body: repr(body[-30:]))
async def test_what_is_no_json_is_told_so_in_both_eras(browser: Any, body: bytes) -> None:
    for headers in ({}, {"mcp-protocol-version": MODERN, "mcp-method": "ping"}):
        response = await browser.send(body, headers=headers)
        assert (response.status, response.error["code"]) == (400, -32700)


@pytest.mark.parametrize("value", TWO_VALUES, ids=lambda body: repr(body[:30]))
async def test_a_value_that_programs_read_differently_is_refused(browser: Any, value: bytes) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":' + value + b"}}"
    response = await browser.send(body)
    assert (response.status, response.error["code"]) == (400, -32600)


@pytest.mark.parametrize(
    "value",
    [b"18446744073709551615", b"-9223372036854775808", b"1e-400", b"-0.0", b'"\\ud83d\\ude00"', b'{"__proto__":{}}',
     '{"\u00e9":1,"e\u0301":2}'.encode(), b'"\xf0\x9f\x98\x80"', b'[[[[[[[[[[]]]]]]]]]]', b'"\\u0000"'],
)  # fmt: skip
async def test_odd_but_plain_json_is_read(browser: Any, value: bytes) -> None:
    body = b'\t\r\n {"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":' + value + b"}}\n"
    assert (await browser.send(body)).json == {"jsonrpc": "2.0", "id": 1, "result": {}}
