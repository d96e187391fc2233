"""The server that the official conformance suite expects to find: every tool, prompt and resource that it names.

Run alone: `python tests/interop/conformance_server.py --port 3901`; the endpoint is then /mcp, in all revisions.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import struct
import zlib
from typing import Annotated, Any

import mcp_types as types
import uvicorn
from conformance_tasks import WORK, Tasks, elicitation
from mcp.server.caching import CacheHint
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.request_state import RequestStateSecurity
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.shared.exceptions import MCPError
from pydantic import Field

Asked = str | types.InputRequiredResult

CACHED = ("tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PIXEL = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
    + _chunk(b"IEND", b"")
)
SILENCE = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 0)
PNG, WAV = base64.b64encode(PIXEL).decode(), base64.b64encode(SILENCE).decode()

mcp = MCPServer(
    "conformance",
    version="1.0.0",
    instructions="Serves the conformance suite.",
    extensions=[Tasks()],
    request_state_security=RequestStateSecurity(keys=[b"0" * 32]),
    cache_hints={method: CacheHint(ttl_ms=60_000, scope="public") for method in (*CACHED, "server/discover")},
)


def text(words: str) -> types.TextContent:
    return types.TextContent(type="text", text=words)


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=PNG, mime_type="image/png")


def embedded(uri: str, kind: str, words: str) -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=uri, mime_type=kind, text=words)
    return types.EmbeddedResource(type="resource", resource=contents)


# --- tools of every revision ---------------------------------------------------------------------


@mcp.tool()
def test_simple_text() -> str:
    """Answers with text."""
    return "This is a simple text response for testing."


@mcp.tool()
def test_image_content() -> list[types.ImageContent]:
    """Answers with an image."""
    return [image()]


@mcp.tool()
def test_audio_content() -> list[types.AudioContent]:
    """Answers with audio."""
    return [types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")]


@mcp.tool()
def test_embedded_resource() -> list[types.EmbeddedResource]:
    """Answers with a resource."""
    return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


@mcp.tool()
def test_multiple_content_types() -> list[types.ContentBlock]:
    """Answers with three kinds of content."""
    mixed = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    return [text("Multiple content types test:"), image(), mixed]


@mcp.tool()
def test_error_handling() -> str:
    """Fails."""
    raise ToolError("This tool intentionally returns an error for testing")


@mcp.tool()
async def test_tool_with_progress(ctx: Context) -> str:
    """Reports progress three times."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100)
        await asyncio.sleep(0.05)
    return "All of it is done."


@mcp.tool()
def add(a: int, b: int) -> int:
    """Adds, with structured output."""
    return a + b


@mcp.tool()
def greet(name: str) -> str:
    """Answers at once, whatever the client knows of tasks."""
    return f"Hello, {name}!"


@mcp.tool()
def region_query(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})], sql: str = "") -> str:
    """Has an argument that is mirrored in a header."""
    return f"{region}: {sql}"


@mcp.tool(name="json_schema_2020_12_tool", description="Has a schema that uses much of JSON Schema 2020-12.")
def with_schema(name: str = "") -> str:
    return name


# MCPServer has no public way to give a schema as it is.
mcp._tool_manager.get_tool("json_schema_2020_12_tool").parameters = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


# --- tools that talk back, up to 2025-11-25 ------------------------------------------------------


@mcp.tool()
async def test_tool_with_logging(ctx: Context) -> str:
    """Logs three lines."""
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(line)
        await asyncio.sleep(0.05)
    return "logged"


@mcp.tool()
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Asks the client's model."""
    messages = [types.SamplingMessage(role="user", content=text(prompt))]
    answer = await ctx.session.create_message(messages=messages, max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {getattr(answer.content, 'text', answer.content)}"


async def ask_person(ctx: Context, message: str, properties: dict[str, Any], *required: str) -> str:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    answer = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
    return f"action={answer.action}, content={json.dumps(answer.content)}"


@mcp.tool()
async def test_elicitation(message: str, ctx: Context) -> str:
    """Asks for a name and an address."""
    properties = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    return "User response: " + await ask_person(ctx, message, properties, "username", "email")


@mcp.tool()
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Asks with a default for every kind of value."""
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return "Elicitation completed: " + await ask_person(ctx, "All have defaults.", properties)


@mcp.tool()
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Asks with every kind of choice."""
    plain = {"type": "string", "enum": ["option1", "option2", "option3"]}
    titled = [
        {"const": f"value{n}", "title": f"{word} Option"} for n, word in enumerate(("First", "Second", "Third"), 1)
    ]
    names = ["Option One", "Option Two", "Option Three"]
    properties = {
        "untitledSingle": plain,
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": names},
        "untitledMulti": {"type": "array", "items": plain},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return "Elicitation completed: " + await ask_person(ctx, "Choose.", properties)


@mcp.tool()
async def test_reconnection(ctx: Context) -> str:
    """Hangs up in the middle; the client comes back for the rest."""
    await ctx.close_sse_stream()
    await asyncio.sleep(0.1)
    return "Reconnection test completed"


# --- tools of 2026-07-28 -------------------------------------------------------------------------


@mcp.tool()
async def test_logging_tool(ctx: Context) -> str:
    """Logs, for those who ask for it."""
    await ctx.info("A line of the log.")
    return "logged"


@mcp.tool()
def test_missing_capability(ctx: Context) -> str:
    """Needs a client that can sample."""
    if ctx.client_capabilities is None or ctx.client_capabilities.sampling is None:
        needed = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool needs sampling.", needed)
    return "ok"


@mcp.tool()
async def test_trigger_tool_change(ctx: Context) -> str:
    """Announces other tools."""
    await ctx.notify_tools_changed()
    return "announced"


@mcp.tool()
async def test_trigger_prompt_change(ctx: Context) -> str:
    """Announces other prompts."""
    await ctx.notify_prompts_changed()
    return "announced"


def given(ctx: Context, key: str) -> dict[str, Any]:
    """What the person filled into the form of that key; empty when it was not accepted."""
    answer = (ctx.input_responses or {}).get(key)
    accepted = isinstance(answer, types.ElicitResult) and answer.action == "accept"
    return (answer.content or {}) if accepted else {}


def ask(key: str, message: str, name: str, kind: str = "string", state: str | None = None) -> types.InputRequiredResult:
    return types.InputRequiredResult(input_requests={key: elicitation(message, name, kind=kind)}, request_state=state)


def sampled(question: str, most: int = 100) -> types.CreateMessageRequest:
    messages = [types.SamplingMessage(role="user", content=text(question))]
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=messages, max_tokens=most))


@mcp.tool()
def test_streaming_elicitation(ctx: Context) -> Asked:
    """Asks for a name."""
    name = given(ctx, "user_name").get("name")
    return f"Hello, {name}!" if name else ask("user_name", "What is your name?", "name")


@mcp.tool()
def test_input_required_result_elicitation(ctx: Context) -> Asked:
    """Asks for a name."""
    return test_streaming_elicitation(ctx)


@mcp.tool()
def test_input_required_result_sampling(ctx: Context) -> Asked:
    """Asks the client's model."""
    answer = (ctx.input_responses or {}).get("capital_question")
    if answer is None:
        return types.InputRequiredResult(input_requests={"capital_question": sampled("What is the capital of France?")})
    return f"LLM said: {answer.content.text}"


@mcp.tool()
def test_input_required_result_list_roots(ctx: Context) -> Asked:
    """Asks for the client's roots."""
    answer = (ctx.input_responses or {}).get("client_roots")
    if answer is None:
        return types.InputRequiredResult(input_requests={"client_roots": types.ListRootsRequest()})
    return "Roots: " + ", ".join(str(root.uri) for root in answer.roots)


@mcp.tool()
def test_input_required_result_request_state(ctx: Context) -> Asked:
    """Gives a state that has to come back."""
    if ctx.request_state == "first" and given(ctx, "confirm"):
        return "state-ok"
    return ask("confirm", "Please confirm", "ok", "boolean", "first")


@mcp.tool()
def test_input_required_result_tampered_state(ctx: Context) -> Asked:
    """Gives a state that must not be changed."""
    return test_input_required_result_request_state(ctx)


@mcp.tool()
def test_input_required_result_multiple_inputs(ctx: Context) -> Asked:
    """Asks three things at once."""
    if {"user_name", "greeting", "client_roots"} <= (ctx.input_responses or {}).keys():
        return "all inputs received"
    asked: dict[str, Any] = {
        "user_name": elicitation("What is your name?", "name"),
        "greeting": sampled("Generate a greeting", 50),
        "client_roots": types.ListRootsRequest(),
    }
    return types.InputRequiredResult(input_requests=asked, request_state="three")


@mcp.tool()
def test_input_required_result_multi_round(ctx: Context) -> Asked:
    """Asks one thing after another."""
    state: dict[str, Any] = json.loads(ctx.request_state) if ctx.request_state else {"round": 0}
    state |= given(ctx, "step1") | given(ctx, "step2") | {"round": state["round"] + 1}
    if "name" not in state:
        return ask("step1", "Step 1: What is your name?", "name", state=json.dumps(state))
    if "color" not in state:
        return ask("step2", "Step 2: What is your favorite color?", "color", state=json.dumps(state))
    return f"{state['name']} likes {state['color']}"


@mcp.tool()
def test_input_required_result_capabilities(ctx: Context) -> Asked:
    """Asks only what the client can answer."""
    able, asked = ctx.client_capabilities, {}
    if able and able.sampling is not None:
        asked["sampled"] = sampled("Hello?", 10)
    if able and able.elicitation is not None:
        asked["elicited"] = elicitation("What is your name?", "name")
    if able and able.roots is not None:
        asked["roots"] = types.ListRootsRequest()
    return types.InputRequiredResult(input_requests=asked) if asked and not ctx.input_responses else "done"


# --- the tools of the tasks extension, for clients that do not know it ----------------------------


@mcp.tool()
async def slow_compute(seconds: float = 0, label: str = "") -> str:
    """Takes its time."""
    await asyncio.sleep(seconds)
    return f"computed {label}"


def _needs_tasks(name: str) -> None:
    def tool(filename: str = "") -> str:
        raise ToolError(f"{name} needs the tasks extension.")

    mcp.add_tool(tool, name=name, description="Runs as a task.")


for _name in WORK:
    if _name != "slow_compute":
        _needs_tasks(_name)


# --- resources, prompts, completion --------------------------------------------------------------


@mcp.resource("test://static-text", name="static-text", description="Text.", mime_type="text/plain")
def static_text() -> str:
    return "This is the content of the static text resource."


@mcp.resource("test://static-binary", name="static-binary", description="A pixel.", mime_type="image/png")
def static_binary() -> bytes:
    return PIXEL


@mcp.resource("test://watched-resource", name="watched", description="Can be watched.", mime_type="text/plain")
def watched() -> str:
    return "watched"


@mcp.resource("test://template/{id}/data", name="data", description="Data by id.", mime_type="application/json")
def data_of(id: str) -> str:
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def said(content: types.BaseModel) -> dict[str, Any]:
    return {"role": "user", "content": content.model_dump(by_alias=True, mode="json", exclude_none=True)}


@mcp.prompt(description="Has no arguments.")
def test_simple_prompt() -> str:
    return "This is a simple prompt for testing."


@mcp.prompt(description="Has two arguments.")
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@mcp.prompt(description="Embeds a resource.")
def test_prompt_with_embedded_resource(resourceUri: str) -> list[Any]:
    resource = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
    return [said(resource), said(text("Please process the embedded resource above."))]


@mcp.prompt(description="Shows an image.")
def test_prompt_with_image() -> list[Any]:
    return [said(image()), said(text("Please analyze the image above."))]


@mcp.prompt(description="Asks before it answers.")
def test_input_required_result_prompt(ctx: Context) -> Asked:
    context = given(ctx, "user_context").get("context")
    return f"Context: {context}" if context else ask("user_context", "What is it about?", "context")


@mcp.completion()
async def complete(ref: Any, argument: Any, context: Any) -> types.Completion:
    values = [value for value in ("paris", "park", "party") if value.startswith(argument.value)]
    return types.Completion(values=values, total=len(values), has_more=False)


async def accepted(ctx: Any, params: Any) -> types.EmptyResult:
    return types.EmptyResult()


# Methods of the older revisions that MCPServer leaves to those who need them.
for _method, _params in (
    ("resources/subscribe", types.SubscribeRequestParams),
    ("resources/unsubscribe", types.UnsubscribeRequestParams),
    ("logging/setLevel", types.SetLevelRequestParams),
):
    mcp._lowlevel_server.add_request_handler(_method, _params, accepted)


class Events(EventStore):
    """Remembers what was sent, so that a client can come back for it."""

    def __init__(self) -> None:
        self._sent: list[tuple[str, Any]] = []

    async def store_event(self, stream_id: str, message: Any) -> str:
        self._sent.append((stream_id, message))
        return str(len(self._sent))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str:
        position = int(last_event_id)
        stream = self._sent[position - 1][0]
        for id, (of, message) in enumerate(self._sent[position:], position + 1):
            if of == stream and message is not None:
                await send_callback(EventMessage(message, str(id)))
        return stream


class Older:
    """The same server as one that has never heard of 2026-07-28."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (b"mcp-protocol-version", b"2026-07-28") in scope["headers"]:
            await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"Unsupported protocol version"})
        else:
            await self._app(scope, receive, send)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=3901)
    parser.add_argument("--older", action="store_true", help="speak the revisions up to 2025-11-25 only")
    given_here = parser.parse_args()
    app: Any = mcp.streamable_http_app(event_store=Events(), retry_interval=100)
    # h11 because httptools keeps blanks after header values, which one scenario sends
    uvicorn.run(
        Older(app) if given_here.older else app, host="127.0.0.1", port=given_here.port, log_level="warning", http="h11"
    )
