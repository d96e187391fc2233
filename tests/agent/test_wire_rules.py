"""The strict fake refuses what the real providers refuse, and the guard of this folder holds."""

from __future__ import annotations

import socket
from typing import Any

import httpx2
import pytest

from tests.agent.conftest import ReachedOut
from tests.agent.wire_fake import Turn, WireFake

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
CALL = {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "x"}
USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "n", "input": {}}]}
USED = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]}
ASKED = {"role": "user", "content": "Hello?"}
GEMINI_ASKED = {"role": "user", "parts": [{"text": "Hello?"}]}
GEMINI_CALL = {"role": "model", "parts": [{"functionCall": {"name": "n", "args": {}}}]}
GEMINI_ANSWER = {"role": "user", "parts": [{"functionResponse": {"name": "n", "response": {}}}]}


def responses(**more: Any) -> dict[str, Any]:
    tool = {"type": "function", "name": "n", "description": "d", "parameters": SCHEMA, "strict": False}
    body = {"model": "m", "store": False, "stream": True, "include": ["reasoning.encrypted_content"]}
    return {**body, "tools": [tool], "input": [ASKED], **more}


def messages(**more: Any) -> dict[str, Any]:
    tool = {"name": "n", "description": "d", "input_schema": SCHEMA}
    return {"model": "m", "max_tokens": 9, "stream": True, "tools": [tool], "messages": [ASKED], **more}


def gemini(**more: Any) -> dict[str, Any]:
    declared = {"name": "n", "description": "d", "parametersJsonSchema": SCHEMA}
    return {"contents": [GEMINI_ASKED], "tools": [{"functionDeclarations": [declared]}], **more}


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [ASKED], "stream": True, **more}


PATHS = {
    responses: "/v1/responses",
    messages: "/v1/messages",
    gemini: "/v1/models/m:streamGenerateContent",
    chat: "/v1/chat/completions",
}
HEADERS = {"Authorization": "Bearer test", "anthropic-version": "2026-10-21", "x-goog-api-key": "test"}


async def post(wire: WireFake, build: Any, body: dict[str, Any]) -> httpx2.Response:
    async with httpx2.AsyncClient() as client:
        return await client.post(wire.url + PATHS[build], json=body, headers=HEADERS)


@pytest.mark.parametrize("build", list(PATHS))
async def test_what_keeps_the_rules_is_answered(build: Any, wire: WireFake) -> None:
    wire.script(Turn(text="Hello."))
    response = await post(wire, build, build())
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize(
    ("build", "more"),
    [
        (responses, {"temperature": 0.1}),
        (responses, {"store": True}),
        (responses, {"input": [ASKED, CALL]}),
        (responses, {"input": [ASKED, CALL, ASKED]}),
        (responses, {"input": [ASKED, OUTPUT]}),
        (responses, {"input": [ASKED, {**CALL, "parsed_arguments": {}}, OUTPUT]}),
        (responses, {"input": [ASKED, {**CALL, "arguments": "{"}, OUTPUT]}),
        (responses, {"input": [ASKED, {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "forged"}]}),
        (
            responses,
            {"tools": [{"type": "function", "name": "a.b", "description": "", "parameters": SCHEMA, "strict": False}]},
        ),
        (
            responses,
            {
                "tools": [
                    {
                        "type": "function",
                        "name": "n",
                        "description": "",
                        "parameters": {"type": "object"},
                        "strict": False,
                    }
                ]
            },
        ),
        (messages, {"temperature": 1.0}),
        (messages, {"messages": [ASKED, USE]}),
        (messages, {"messages": [ASKED, USE, ASKED]}),
        (messages, {"messages": [ASKED, USED]}),
        (messages, {"messages": [USE, USED]}),
        (messages, {"messages": [{"role": "user", "content": ""}]}),
        (
            messages,
            {
                "messages": [
                    ASKED,
                    {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "forged"}]},
                ]
            },
        ),
        (
            messages,
            {
                "tools": [
                    {"name": "n", "description": "", "input_schema": {"type": "object", "properties": {}, "oneOf": []}}
                ]
            },
        ),
        (
            messages,
            {"tools": [{"name": "n", "description": "", "input_schema": {"type": "object", "properties": {"@a": {}}}}]},
        ),
        (gemini, {"contents": [GEMINI_ASKED, GEMINI_CALL, GEMINI_ANSWER]}),
        (gemini, {"contents": [GEMINI_ASKED, GEMINI_ANSWER]}),
        (gemini, {"contents": [{"role": "user", "parts": []}]}),
        (gemini, {"tools": [{"functionDeclarations": [{"name": "1n", "parametersJsonSchema": SCHEMA}]}]}),
        (chat, {"temperature": 0.5}),
        (
            chat,
            {"messages": [ASKED, {"role": "assistant", "tool_calls": [{"id": "c", "function": {"arguments": "{}"}}]}]},
        ),
        (chat, {"messages": [ASKED, {"role": "tool", "tool_call_id": "c", "content": "x"}]}),
        (chat, {"messages": [{"role": "developer", "content": "x"}]}),
    ],
)
async def test_what_breaks_a_rule_is_refused_and_kept(build: Any, more: dict[str, Any], wire: WireFake) -> None:
    response = await post(wire, build, build(**more))
    assert response.status_code == 400
    assert len(wire.broken) == 1
    wire.broken.clear()


async def test_a_wrong_key_is_refused(wire: WireFake) -> None:
    async with httpx2.AsyncClient() as client:
        response = await client.post(f"{wire.url}/v1/messages", json=messages())
    assert response.status_code == 400
    wire.broken.clear()


@pytest.mark.parametrize("host", ["api.openai.com", "10.1.2.3", "2001:db8::1"])
def test_nothing_in_this_folder_can_leave_this_machine(host: str) -> None:
    with pytest.raises(ReachedOut):
        socket.create_connection((host, 443), timeout=1)
