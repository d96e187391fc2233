"""Odd results of tools, in the form that clients can read."""

from __future__ import annotations

from typing import Any

import mcp_types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.registry.connection import RpcError
from workbench.upstream.jsonrpc_messages import result_of
from workbench.upstream.tool_result import UNNAMED, tool_result


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


ODD: dict[str, tuple[Any, Any]] = {
    "a text": ("just text", {"content": [text("just text")]}),
    "null": (None, {"content": []}),
    "a number": (7, {"content": [text("7")]}),
    "a list of content": ([text("a"), "b"], {"content": [text("a"), text("b")]}),
    "a list of values": ([1, 2], {"content": [text("[1,2]")]}),
    "no content": ({}, {"content": []}),
    "content null": ({"content": None, "isError": None}, {"content": []}),
    "content a text": ({"content": "a"}, {"content": [text("a")]}),
    "content an object": ({"content": text("a")}, {"content": [text("a")]}),
    "content a list of texts": ({"content": ["a", "b"]}, {"content": [text("a"), text("b")]}),
    "content a list of values": ({"content": [{"a": 1}]}, {"content": [text('[{"a":1}]')]}),
    "structured content alone": (
        {"structuredContent": {"a": 1}}, {"structuredContent": {"a": 1}, "content": [text('{"a":1}')]},
    ),
    "the result of 2024-10-07": ({"toolResult": "old"}, {"content": [text("old")]}),
    "a value of its own": ({"rows": [1]}, {"rows": [1], "content": [text('{"rows":[1]}')]}),
    "nulls": (
        {"content": [{**text("ok"), "annotations": None, "_meta": None}], "structuredContent": None, "_meta": None},
        {"content": [text("ok")]},
    ),
    "text null": ({"content": [{"type": "text", "text": None}]}, {"content": [text("")]}),
    "text a number": ({"content": [{"type": "text", "text": 5}]}, {"content": [text("5")]}),
    "an unknown kind": ({"content": [{"type": "video"}]}, {"content": [text('{"type":"video"}')]}),
    "a resource without address": (
        {"content": [{"type": "resource", "resource": {"text": "x", "uri": None}}]},
        {"content": [{"type": "resource", "resource": {"text": "x", "uri": UNNAMED}}]},
    ),
    "a resource that is a text": (
        {"content": [{"type": "resource", "resource": "x"}]}, {"content": [text('{"type":"resource","resource":"x"}')]},
    ),
    "isError as a text": ({"content": [], "isError": "true"}, {"content": [], "isError": True}),
    "isError as the text false": ({"content": [], "isError": "False"}, {"content": [], "isError": False}),
    "isError as a number": ({"content": [], "isError": 1}, {"content": [], "isError": True}),
    "_meta as a text": ({"content": [], "_meta": "x"}, {"content": []}),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_result_is_brought_into_form(kind: str) -> None:
    given_, expected = ODD[kind]
    assert tool_result(given_) == expected
    mcp_types.CallToolResult.model_validate(expected)


@pytest.mark.parametrize(
    "result",
    [
        {"content": [text("a"), {"type": "image", "data": "AA==", "mimeType": "image/png"}], "structuredContent": [1]},
        {"content": [], "isError": True, "_meta": {"a": None}},
        {"resultType": "input_required", "inputRequests": {}},
        {"task": {"taskId": "1"}},
    ],
)
def test_a_result_that_is_in_form_stays_as_it_is(result: Any) -> None:
    assert tool_result(result) is result


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "type", "text"]), inner),
    max_leaves=8,
)
results = json_values | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("content", "structuredContent", "isError", "_meta", "toolResult"), json_values)
)


@given(results)
def test_every_value_becomes_a_result_that_a_client_can_read(value: Any) -> None:
    found = tool_result(value)
    blocks = [block for block in found["content"] if block["type"] in ("text", "resource")]
    mcp_types.CallToolResult.model_validate({**found, "content": blocks})
    assert tool_result(found) == found


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ({"id": 1, "error": {"code": "-32000", "message": "m"}}, -32000, "m"),
        ({"id": 1, "error": {"code": None, "message": None}}, -32603, "gave no reason"),
        ({"id": 1, "error": {"message": {"a": 1}}}, -32603, '{"a":1}'),
        ({"id": 1, "error": "broken"}, -32603, "broken"),
        ({"id": 1, "result": None, "error": {"code": 1, "message": "m"}}, 1, "m"),
        ({"id": 1, "result": {}, "error": {"code": 1, "message": "m"}}, 1, "m"),
        ({"id": None, "error": {"code": -32700, "message": "m"}}, -32700, "m"),
    ],
)
def test_odd_errors_are_errors(message: Any, code: int, words: str) -> None:
    with pytest.raises(RpcError) as caught:
        result_of(message, 1, "s", "tools/call")
    assert caught.value.code == code
    assert words in str(caught.value)


@pytest.mark.parametrize("id", [5, "5", 5.0])
def test_the_id_of_a_response_may_be_a_text(id: Any) -> None:
    assert result_of({"id": id, "result": {"a": 1}, "error": None}, 5, "s") == {"a": 1}
    assert result_of({"id": id, "result": None}, 5, "s", "ping") == {}


@pytest.mark.parametrize("id", [True, "05x", None, [5], 5.5, "²"])
def test_other_ids_are_not_taken_for_ours(id: Any) -> None:
    with pytest.raises(Exception, match="no response"):
        result_of({"id": id, "result": {}}, 1 if id is True else 5, "s")
