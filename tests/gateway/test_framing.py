"""Messages out of whatever a server writes to its standard output."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.upstream.line_framing import MessageReader, is_message


class Reading:
    """A reader that is fed, and what came of it."""

    def __init__(self, max_bytes: int = 10_000) -> None:
        self.noise: list[bytes] = []
        self.broken: list[tuple[int | None, str]] = []
        self.reader = MessageReader(
            max_bytes=max_bytes, noise=self.noise.append, broken=lambda id, why: self.broken.append((id, why))
        )

    def feed(self, output: bytes) -> list[Any]:
        *lines, rest = output.split(b"\n")
        found = [message for line in lines for message in self.reader.feed(line)]
        return [*found, *self.reader.end(rest, "It ended.")]


ONE = {"jsonrpc": "2.0", "id": 1, "result": {"text": 'a "quoted" {[ text', "list": [{}, []]}}
TWO = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}
A, B = json.dumps(ONE).encode(), json.dumps(TWO).encode()
PRETTY = json.dumps(ONE, indent=2).encode()

STREAMS: dict[str, tuple[bytes, list[Any]]] = {
    "a line each": (A + b"\n" + B + b"\n", [ONE, TWO]),
    "carriage returns": (A + b"\r\n" + B + b"\r\n", [ONE, TWO]),
    "no line feed at the end": (A + b"\n" + B, [ONE, TWO]),
    "byte order mark": (b"\xef\xbb\xbf" + A + b"\n", [ONE]),
    "two on a line": (A + B + b"\n", [ONE, TWO]),
    "two with a blank": (A + b" " + B + b"\n", [ONE, TWO]),
    "followed by an empty object": (A + b"{}\n", [ONE]),
    "a batch": (b"[" + A + b"," + B + b"]\n", [ONE, TWO]),
    "an indented batch": (json.dumps([ONE, TWO], indent=4).encode() + b"\n", [ONE, TWO]),
    "a batch with a line for each": (b"[\n" + A + b",\n" + B + b"\n]\n", [ONE, TWO]),
    "indented": (PRETTY + b"\n" + B + b"\n", [ONE, TWO]),
    "indented with tabs and carriage returns": (
        json.dumps(ONE, indent="\t").replace("\n", "\r\n").encode() + b"\r\n", [ONE],
    ),
    "indented, with a line feed within a text": (
        b'{\n"jsonrpc": "2.0",\n"id": 1,\n"result": {"text": "a {\nb \\"\n}"}\n}\n',
        [{"jsonrpc": "2.0", "id": 1, "result": {"text": 'a {\nb "\n}'}}],
    ),
    "a banner before": ("🖥️ Server\n :: Boot :: (v3)\n\n> start\n".encode() + A + b"\n", [ONE]),
    "a banner that begins like JSON": (b"[INFO] start\n[1/4] {x}\n{ demo }\n" + A + b"\n", [ONE]),
    "something open before": (b'{"level": "info",\n' + A + b"\n", [ONE]),
    "logs as JSON": (b'{"level":"info","id":1}\n{"method":"GET","id":7}\n[1]\n"x"\n3\nnull\n' + A + b"\n", [ONE]),
    "after a prompt": (b"> " + A + b"\n", [ONE]),
    "after progress that is written over": (b"Loading 10%\rLoading 100%\r" + A + b"\n", [ONE]),
    "with a word behind": (A + b" done\n", [ONE]),
    "UTF-16": ((A.decode() + "\n" + B.decode() + "\n").encode("utf-16"), [ONE, TWO]),
    "UTF-16, big-endian": ((A.decode() + "\n" + B.decode() + "\n").encode("utf-16-be"), [ONE, TWO]),
    "without a version": (b'{"id":1,"result":{}}\n{"method":"tools/x"}\n',
                          [{"id": 1, "result": {}}, {"method": "tools/x"}]),
}  # fmt: skip


@pytest.mark.parametrize("kind", STREAMS)
def test_messages_are_found_in_every_kind_of_output(kind: str) -> None:
    output, messages = STREAMS[kind]
    reading = Reading()
    assert reading.feed(output) == messages
    assert reading.broken == []


BROKEN: dict[str, tuple[bytes, tuple[int | None, str]]] = {
    "cut off": (b'{"jsonrpc":"2.0","id":7,"result":{"con', (7, "It ended.")),
    "cut off within an indented message": (b'{\n "jsonrpc": "2.0",\n "id": "7",\n "result": {\n', (7, "It ended.")),
    "single quotes": (b'{"jsonrpc":"2.0","id":7,"result":{\'a\':1}}\n', (7, "it is no JSON")),
    "the id at the end": (b'{"jsonrpc":"2.0","result":{"id":3,"a":.5},"id":7}\n', (7, "it is no JSON")),
    "no id": (b'{"jsonrpc":"2.0","result":{"a":.5}}\n', (None, "it is no JSON")),
    "too deep": (b'{"jsonrpc":"2.0","id":7,"result":' + b"[" * 5000 + b"]" * 5000 + b"}\n", (7, "nested too deeply")),
    "cut off by another": (b'{"jsonrpc":"2.0","id":7,"result":{"a":\n' + B + b"\n", (7, "another message")),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_response_that_cannot_be_read_is_named_by_its_id(kind: str) -> None:
    output, (id, why) = BROKEN[kind]
    reading = Reading(max_bytes=100_000)
    reading.feed(output)
    ((found, reason),) = reading.broken
    assert found == id
    assert why in reason


def test_a_broken_notification_is_no_response() -> None:
    reading = Reading()
    assert reading.feed(b'{"jsonrpc":"2.0","method":"notifications/message","params":{"a":.5}}\n') == []
    assert reading.broken == []
    assert len(reading.noise) == 1


def test_a_message_over_many_lines_is_bounded() -> None:
    reading = Reading(max_bytes=100)
    assert reading.feed(b'{"jsonrpc": "2.0",\n"id": 4,\n"result": {\n' + b'"a": 1,\n' * 50 + A + b"\n")[-1] == ONE
    assert reading.broken[0] == (4, "it has more than 100 bytes")


def test_what_is_no_message_is_noise() -> None:
    reading = Reading()
    assert reading.feed(b"one\n\n \r\ntwo") == []
    assert reading.noise == [b"one", b"two"]
    assert not reading.reader.pending


@pytest.mark.parametrize("value", [None, 1, [], {}, {"id": 1}, {"method": "GET"}, {"method": "/x"}, {"method": 1}])
def test_lines_of_logs_are_no_messages(value: Any) -> None:
    assert not is_message(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(st.tuples(json_values, st.sampled_from([None, 0, 2]), st.sampled_from(["", "log\n", "\r\n"]))))
def test_messages_in_any_layout_arrive_in_their_order(parts: list[tuple[Any, int | None, str]]) -> None:
    sent, output = [], ""
    for number, (value, indent, before) in enumerate(parts):
        sent.append({"jsonrpc": "2.0", "id": number, "result": value})
        output += before + json.dumps(sent[-1], indent=indent) + "\n"
    assert Reading(max_bytes=1 << 20).feed(output.encode()) == sent


@given(st.binary(max_size=300))
def test_no_output_breaks_the_reader(output: bytes) -> None:
    reading = Reading()
    reading.feed(output)
    assert list(reading.reader.feed(A)) == [ONE]


_ODD = st.sampled_from([b"{", b"}", b"[", b"]", b'"', b'"a"', b'""', b"1,", b":", b" "])
_WHOLE = st.sampled_from([b"{", b"]", rb'"\"{"', rb'"\\"', rb'"]\n"', rb'"\\\"}"', b'""', b":"])


@given(st.lists(st.lists(_ODD, max_size=8), max_size=3) | st.lists(st.lists(_WHOLE, max_size=8), max_size=3))
def test_brackets_are_counted_outside_of_strings_alone(lines: list[list[bytes]]) -> None:
    reader = MessageReader(max_bytes=1 << 20, noise=lambda _: None, broken=lambda *_: None)
    depth, in_string = 0, False
    for parts in lines:
        line = b"".join(parts)
        reader._measure(line)
        escaped = False
        for byte in line:
            mark = bytes([byte])
            if in_string:
                in_string = escaped or mark != b'"'
                escaped = mark == b"\\" and not escaped
            elif mark == b'"':
                in_string, escaped = True, False
            else:
                depth += (mark in b"{[") - (mark in b"}]")
    assert (reader._depth, reader._in_string) == (depth, in_string)
