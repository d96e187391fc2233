"""Reading server-sent events, however the network cuts them."""

from __future__ import annotations

import asyncio
import json
import secrets
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.events import UnreachableError
from workbench.secrets import masking
from workbench.upstream.http.body import read_messages
from workbench.upstream.http.post_answer import AnswerReader
from workbench.upstream.http.sse_parser import LARGE, SseEvent, events


class Pieces:
    """A byte stream that arrives in the given pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [piece for piece in pieces if piece]

    async def readany(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


async def read(*pieces: bytes, max_bytes: int = 1000) -> list[SseEvent]:
    return [event async for event in events(Pieces(*pieces), max_bytes=max_bytes)]


STREAM = (
    b': hello\r\nid: 7\rretry: 50\n\nevent: message\ndata: {"a":\ndata:1}\r\n\r\ndata: two\n\nunended: x\ndata: lost'
)
EXPECTED = [
    SseEvent(b"", "7", 50),
    SseEvent(b'{"a":\n1}', "7", None),
    SseEvent(b"two", "7", None),
    SseEvent(b"lost", "7", None, complete=False),
]


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
async def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert await read(*(STREAM[a:b] for a, b in pairwise(edges))) == EXPECTED


async def test_an_event_without_end_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(UnreachableError, match="more than 1,000 bytes"):
        await read(*[b"data: " + b"x" * 300] * 5)
    with pytest.raises(UnreachableError, match="more than 1,000 bytes"):
        await read(*[b"data: " + b"x" * 300 + b"\n"] * 5)


async def test_ids_and_pauses_that_make_no_sense_are_ignored() -> None:
    assert await read(b"id: a\0b\nretry: soon\ndata: x\n\n") == [SseEvent(b"x", "", None)]


async def test_an_event_that_ends_in_bare_carriage_returns_does_not_wait_for_what_follows() -> None:
    assert await read(b"data: 1\r\r") == [SseEvent(b"1", "", None)]
    assert await read(b"data: 1\r", b"\r", b"data: 2", b"\r", b"\n\r", b"\n") == [
        SseEvent(b"1", "", None),
        SseEvent(b"2", "", None),
    ]


@pytest.mark.parametrize(("size", "waited"), [(LARGE + 1, True), (LARGE, False)])
async def test_others_get_their_turn_before_a_large_event_is_dealt_with(size: int, waited: bool) -> None:
    turns: list[bool] = []
    asyncio.get_running_loop().call_soon(turns.append, True)
    async for event in events(Pieces(b"data: " + b"x" * size + b"\n\n"), max_bytes=1 << 20):
        assert len(event.data) == size
        assert turns == ([True] if waited else [])


class Body(Pieces):
    """A body as the content of a response."""

    def at_eof(self) -> bool:
        return not self.pieces


class Response:
    """The answer of a server to a POST."""

    status = 200

    def __init__(self, body: bytes, content_type: str) -> None:
        self.headers = {"Content-Type": content_type}
        self.content = Body(body)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("size", "turns"), [(LARGE, 3), (1, 0)])
async def test_others_get_their_turn_before_and_after_a_large_body_is_decoded(size: int, turns: int) -> None:
    taken: list[int] = []
    loop = asyncio.get_running_loop()

    def turn() -> None:
        taken.append(1)
        loop.call_soon(turn)

    loop.call_soon(turn)
    response = Response(b'{"id": 1, "result": {"a": "' + b"x" * size + b'"}}', "application/json")
    found = await read_messages(response, "application/json", "s", 1 << 20)
    assert found == [{"id": 1, "result": {"a": "x" * size}}]
    assert len(taken) == turns


@pytest.mark.parametrize(("size", "turns"), [(LARGE, 3), (1, 0)])
async def test_others_get_their_turn_before_and_after_the_message_of_a_large_event_is_decoded(
    size: int, turns: int
) -> None:
    taken: list[int] = []
    loop = asyncio.get_running_loop()

    def turn() -> None:
        taken.append(1)
        loop.call_soon(turn)

    async def said(message: Any, notify: Any) -> None:
        said_after.append(len(taken))

    said_after: list[int] = []
    loop.call_soon(turn)
    told = b'{"method": "notifications/progress", "params": {"message": "' + b"x" * size + b'"}}'
    response = Response(b"data: " + told + b'\n\ndata: {"id": 1, "result": {}}\n\n', "text/event-stream")
    endpoint: Any = None
    assert await AnswerReader(endpoint, "s", 1 << 20, said).result(response, 1, "tools/call", None, None) is not None
    assert said_after == [turns]


async def test_others_get_many_turns_while_hundreds_of_secrets_are_taken_out_of_a_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_values", "_forms", "_index"):
        monkeypatch.setattr(masking, name, {} if name == "_values" else () if name == "_forms" else None)
    known = [f"{number:04d}-{secrets.token_urlsafe(32)}" for number in range(500)]
    for value in known:
        masking.remember(value)
    taken: list[int] = []
    loop = asyncio.get_running_loop()

    def turn() -> None:
        taken.append(1)
        loop.call_soon(turn)

    loop.call_soon(turn)
    text = " ".join(known[number % 500] for number in range(80_000))
    body = json.dumps({"id": 1, "result": {"a": text}}).encode()
    found = await read_messages(Response(body, "application/json"), "application/json", "s", 8 << 20)
    assert found == [{"id": 1, "result": {"a": " ".join(["<secret>"] * 80_000)}}]
    assert len(taken) > 5


@pytest.mark.parametrize("odd", [b'"b": NaN', b'"\xff": 1'])
async def test_a_large_body_that_is_odd_is_read_too(odd: bytes) -> None:
    body = b'{"id": 1, "result": {"a": "' + b"x" * LARGE + b'", ' + odd + b"}}"
    (found,) = await read_messages(Response(body, "application/json"), "application/json", "s", 8 << 20)
    assert found["result"]["a"] == "x" * LARGE


async def test_a_field_without_a_colon_is_an_empty_line_of_data() -> None:
    assert await read(b"data: 1\ndata\ndata:2\ndata:  3\n\n") == [SseEvent(b"1\n\n2\n 3", "", None)]
