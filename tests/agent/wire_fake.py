"""A provider that is stricter than the real ones, speaking all four dialects over real HTTP on loopback.

It answers from a script, injects faults, and checks what clients send against the documented rules: a broken rule is
answered with 400 as the real API would, and kept in `broken`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

Fault = Literal[
    "429", "500", "503", "529", "401", "403", "404", "402", "context", "slow", "cut", "reset", "malformed", "error"
]


@dataclass(frozen=True)
class Turn:
    """What the model says next."""

    text: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    """Name and arguments; arguments that are text go over the wire as they are."""
    thinking: str = ""
    stop: str = ""
    """Overrides the provider's reason to stop."""


class BrokenRule(Exception):
    """The request breaks a rule of the API."""


@dataclass
class WireFake:
    turns: deque[Turn] = field(default_factory=deque)
    spoil: Callable[[list[str]], list[str]] = list
    """Changes the events of an answer before they are sent."""
    faults: deque[Fault | None] = field(default_factory=deque)
    """One per request; None lets it pass. Empty means no faults."""
    retry_after: str = "0.05"
    ids: bool = True
    """Whether Gemini gives its calls ids."""
    reasons: bool = True
    """Whether OpenAI's model reasons; one that does not refuses to encrypt its reasoning."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the first request has come."""
    broken: list[str] = field(default_factory=list)
    issued: set[str] = field(default_factory=set)
    open_streams: int = 0
    url: str = ""

    def script(self, *turns: Turn) -> None:
        self.turns.extend(turns)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/responses", self._handle(Responses))
        app.router.add_post("/v1/messages", self._handle(Messages))
        app.router.add_post("/v1/chat/completions", self._handle(Chat))
        app.router.add_post("/{version}/models/{call}", self._handle(Gemini))
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        await self._runner.cleanup()

    def env(self, provider: str) -> dict[str, str]:
        """What points the adapter of `provider` here."""
        return {
            "openai": {"OPENAI_API_KEY": "test", "OPENAI_BASE_URL": f"{self.url}/v1"},
            "anthropic": {"ANTHROPIC_API_KEY": "test", "ANTHROPIC_BASE_URL": self.url},
            "gemini": {"GEMINI_API_KEY": "test", "GOOGLE_BASE_URL": self.url},
            "compatible": {"COMPATIBLE_BASE_URL": f"{self.url}/v1", "COMPATIBLE_MODEL": "local-model"},
        }[provider]

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "local-model", "object": "model", "created": 1}]})

    def _handle(self, dialect: type[Dialect]) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.json()
            self.requests.append(body)
            self.asked.set()
            self.headers.append({k.lower(): v for k, v in request.headers.items()})
            self.arrivals.append(asyncio.get_running_loop().time())
            spoken = dialect(self)
            try:
                spoken.check(request, body)
            except (BrokenRule, LookupError, TypeError, ValueError) as error:
                told = f"{dialect.__name__}: {type(error).__name__}: {error}"
                self.broken.append(told)
                return spoken.error(400, "invalid_request_error", told)
            fault = self.faults.popleft() if self.faults else None
            if fault in ERRORS:
                status, kind, message = ERRORS[fault]
                return spoken.error(status, kind, message, {"Retry-After": self.retry_after} if status == 429 else {})
            if fault == "slow":
                await asyncio.Event().wait()
            turn = self.turns.popleft()
            return await self._stream(request, self.spoil(list(spoken.events(turn))), fault, spoken)

        return handle

    async def _stream(
        self, request: web.Request, events: list[str], fault: Fault | None, spoken: Dialect
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self.open_streams += 1
        try:
            middle = max(len(events) // 2, 1)
            for number, event in enumerate(events):
                if number == middle and fault == "cut":
                    break
                if number == middle and fault == "reset":
                    assert request.transport is not None
                    request.transport.abort()
                    break
                if number == middle and fault == "malformed":
                    await response.write(b"event: message_delta\ndata: {not json\n\n")
                if number == middle and fault == "error":
                    await response.write(spoken.error_event().encode())
                    break
                await response.write(event.encode())
        finally:
            self.open_streams -= 1
        return response


ERRORS: dict[Any, tuple[int, str, str]] = {
    "429": (429, "rate_limit_error", "Too many requests."),
    "500": (500, "api_error", "Something broke."),
    "503": (503, "unavailable", "Try later."),
    "529": (529, "overloaded_error", "Overloaded."),
    "401": (401, "authentication_error", "Incorrect API key provided."),
    "403": (403, "permission_error", "This key may not do that."),
    "404": (404, "not_found_error", "The model does not exist."),
    "402": (402, "billing_error", "Your credit balance is too low."),
    "context": (400, "invalid_request_error", "prompt is too long: 250000 tokens > 200000 maximum context length"),
}


def sse(data: Any, event: str = "") -> str:
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(data)}\n\n"


def halves(text: str) -> Iterator[str]:
    yield text[: len(text) // 2]
    yield text[len(text) // 2 :]


def rule(holds: bool, told: str) -> None:
    if not holds:
        raise BrokenRule(told)


def wire_arguments(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


class Dialect:
    name = re.compile(r"[A-Za-z0-9_-]{1,64}")

    def __init__(self, fake: WireFake) -> None:
        self.fake = fake

    def check(self, request: web.Request, body: dict[str, Any]) -> None: ...
    def events(self, turn: Turn) -> Iterator[str]: ...
    def error_event(self) -> str: ...

    def error(self, status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
        body = {"type": "error", "error": {"type": kind, "code": kind, "message": message}}
        return web.json_response(body, status=status, headers=headers or {})

    def check_schema(self, schema: dict[str, Any]) -> None:
        rule(schema.get("type") == "object", "the root of a tool's schema is an object")
        rule(isinstance(schema.get("properties"), dict), "object schema missing properties")
        rule(not {"anyOf", "oneOf", "allOf", "not", "enum"} & schema.keys(), "no alternatives at the root")
        rule(all(re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", name) for name in schema["properties"]), "property key")

    def seen(self, text: str) -> str:
        self.fake.issued.add(text)
        return text


class Responses(Dialect):
    """OpenAI Responses."""

    allowed = {
        "message": {"type", "id", "role", "content", "status", "phase"},
        "function_call": {"type", "id", "call_id", "name", "arguments", "status"},
        "function_call_output": {"type", "call_id", "output"},
        "reasoning": {"type", "id", "summary", "content", "encrypted_content", "status"},
    }

    def check(self, request: web.Request, body: dict[str, Any]) -> None:
        rule(request.headers.get("Authorization") == "Bearer test", "bearer key")
        rule(not {"temperature", "top_p", "seed"} & body.keys(), "sampling parameters are refused")
        rule(body["store"] is False and body["stream"] is True, "not stored, streamed")
        if not self.fake.reasons and body.get("include"):
            self.fake.requests.pop()
            raise web.HTTPBadRequest(
                text=json.dumps({"error": {"message": "Encrypted content is not supported with this model."}}),
                content_type="application/json",
            )
        rule(not self.fake.reasons or body.get("include") == ["reasoning.encrypted_content"], "ask for the reasoning")
        for tool in body["tools"]:
            rule(tool.keys() == {"type", "name", "description", "parameters", "strict"}, f"tool keys {tool.keys()}")
            rule(bool(self.name.fullmatch(tool["name"])), f"tool name {tool['name']}")
            rule(tool["strict"] is False and len(tool["description"]) <= 1024, "not strict, short description")
            self.check_schema(tool["parameters"])
        waiting: set[str] = set()
        for number, item in enumerate(body["input"]):
            kind = item.get("type", "message")
            unknown = item.keys() - self.allowed[kind]
            rule(not unknown, f"Unknown parameter: 'input[{number}].{'/'.join(unknown)}'")
            if kind == "function_call":
                json.loads(item["arguments"])
                waiting.add(item["call_id"])
            elif kind == "function_call_output":
                rule(item["call_id"] in waiting, f"No tool call found for {item['call_id']}")
                waiting.remove(item["call_id"])
            elif kind == "reasoning":
                rule(item["encrypted_content"] in self.fake.issued, "reasoning comes back as it was")
            else:
                rule(not waiting, f"No tool output found for {waiting}")
        rule(not waiting, f"No tool output found for {waiting}")

    def events(self, turn: Turn) -> Iterator[str]:
        count = iter(range(1000))
        turn_number = len(self.fake.requests)
        output: list[dict[str, Any]] = []
        response: dict[str, Any] = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "status": "in_progress",
            "model": "gpt-6-luna",
            "output": [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }

        def event(kind: str, **data: Any) -> str:
            return sse({"type": kind, "sequence_number": next(count), **data}, kind)

        yield event("response.created", response=response)
        if turn.thinking:
            content = self.seen(f"enc-{turn_number}-{turn.thinking}")
            item = {"type": "reasoning", "id": f"rs_{turn_number}", "summary": [], "encrypted_content": content}
            yield event("response.output_item.done", output_index=len(output), item=item)
            output.append(item)
        if turn.text:
            at = {"item_id": f"msg_{turn_number}", "output_index": len(output), "content_index": 0}
            for half in halves(turn.text):
                yield event("response.output_text.delta", delta=half, logprobs=[], **at)
            part = {"type": "output_text", "text": turn.text, "annotations": [], "logprobs": []}
            item = {
                "type": "message",
                "id": at["item_id"],
                "role": "assistant",
                "status": "completed",
                "content": [part],
            }
            yield event("response.output_item.done", output_index=len(output), item=item)
            output.append(item)
        for number, (name, arguments) in enumerate(turn.calls):
            item = {
                "type": "function_call",
                "id": f"fc_{turn_number}_{number}",
                "call_id": f"call_{turn_number}_{number}",
                "name": name,
                "arguments": wire_arguments(arguments),
                "status": "completed",
            }
            for half in halves(item["arguments"]):
                at = {"item_id": item["id"], "output_index": len(output)}
                yield event("response.function_call_arguments.delta", delta=half, **at)
            yield event("response.output_item.done", output_index=len(output), item=item)
            output.append(item)
        usage = {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 0},
            "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 5},
            "total_tokens": 120,
        }
        done = {**response, "status": "completed", "output": output, "usage": usage}
        if turn.stop == "failed":
            done |= {"status": "failed", "error": {"code": "server_error", "message": "it broke"}}
            yield event("response.failed", response=done)
        elif turn.stop:
            done |= {"status": "incomplete", "incomplete_details": {"reason": turn.stop}}
            yield event("response.incomplete", response=done)
        else:
            yield event("response.completed", response=done)

    def error_event(self) -> str:
        data = {"type": "error", "sequence_number": 9, "code": "server_error", "message": "it broke", "param": None}
        return sse(data, "error")


class Messages(Dialect):
    """Anthropic Messages."""

    name = re.compile(r"[A-Za-z0-9_-]{1,128}")

    def check(self, request: web.Request, body: dict[str, Any]) -> None:
        rule(request.headers.get("Authorization") == "Bearer test", "bearer key")
        rule(request.headers.get("anthropic-version") == "2026-10-21", "version")
        rule(not {"temperature", "top_p", "top_k"} & body.keys(), "sampling parameters are refused")
        rule(body["max_tokens"] > 0 and body["stream"] is True, "max_tokens, streamed")
        for tool in body["tools"]:
            rule(bool(self.name.fullmatch(tool["name"])), f"tool name {tool['name']}")
            self.check_schema(tool["input_schema"])
        rule(body["messages"][0]["role"] == "user", "first message is the user's")
        waiting: list[str] = []
        for message in body["messages"]:
            content = message["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            rule(bool(blocks), "messages must have content")
            rule(all(b["type"] != "text" or b["text"].strip() for b in blocks), "text blocks must be non-empty")
            results = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
            rule(message["role"] == "user" or not results, "results come from the user")
            if waiting:
                rule(sorted(results) == sorted(waiting), f"tool_use without tool_result: {waiting} {results}")
            else:
                rule(not results, f"unexpected tool_result {results}")
            waiting = [b["id"] for b in blocks if b["type"] == "tool_use"]
            for block in blocks:
                if block["type"] == "tool_use":
                    rule(isinstance(block["input"], dict), "input is an object")
                    rule(bool(re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"])), "id pattern")
                if block["type"] == "thinking":
                    rule(block["signature"] in self.fake.issued, "thinking comes back with its signature")
        rule(not waiting, f"tool_use without tool_result: {waiting}")

    def events(self, turn: Turn) -> Iterator[str]:
        number = len(self.fake.requests)

        def event(kind: str, **data: Any) -> str:
            return sse({"type": kind, **data}, kind)

        usage = {
            "input_tokens": 60,
            "cache_read_input_tokens": 40,
            "cache_creation_input_tokens": 0,
            "output_tokens": 1,
        }
        message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "claude-haiku-5-5"}
        yield event(
            "message_start",
            message={**message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage},
        )
        yield event("ping")
        index = 0
        if turn.thinking:
            yield event(
                "content_block_start", index=index, content_block={"type": "thinking", "thinking": "", "signature": ""}
            )
            for half in halves(turn.thinking):
                yield event("content_block_delta", index=index, delta={"type": "thinking_delta", "thinking": half})
            signature = self.seen(f"sig-{number}")
            yield event("content_block_delta", index=index, delta={"type": "signature_delta", "signature": signature})
            yield event("content_block_stop", index=index)
            index += 1
        if turn.text:
            yield event("content_block_start", index=index, content_block={"type": "text", "text": ""})
            for half in halves(turn.text):
                yield event("content_block_delta", index=index, delta={"type": "text_delta", "text": half})
            yield event("content_block_stop", index=index)
            index += 1
        for call, (name, arguments) in enumerate(turn.calls):
            block = {"type": "tool_use", "id": f"toolu_{number}_{call}", "name": name, "input": {}}
            yield event("content_block_start", index=index, content_block=block)
            for half in halves(wire_arguments(arguments)):
                delta = {"type": "input_json_delta", "partial_json": half}
                yield event("content_block_delta", index=index, delta=delta)
            yield event("content_block_stop", index=index)
            index += 1
        stop = turn.stop or ("tool_use" if turn.calls else "end_turn")
        delta = {"stop_reason": stop, "stop_sequence": None}
        yield event("message_delta", delta=delta, usage={"output_tokens": 20})
        yield event("message_stop")

    def error_event(self) -> str:
        return sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error")


class Gemini(Dialect):
    """Gemini generateContent."""

    name = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")

    def check(self, request: web.Request, body: dict[str, Any]) -> None:
        rule(request.match_info["call"].endswith(":streamGenerateContent"), "method")
        rule(request.headers.get("x-goog-api-key") == "test", "key")
        for tool in body.get("tools", []):
            for function in tool["functionDeclarations"]:
                schema = function.get("parametersJsonSchema") or function.get("parameters_json_schema")
                rule(bool(self.name.fullmatch(function["name"])), f"tool name {function['name']}")
                rule(all(re.fullmatch(r"[A-Za-z_]\w{0,63}", name) for name in schema["properties"]), "property name")
                rule("const" not in json.dumps(list(schema["properties"].values())), "const is not in the subset")
                self.check_schema(schema)
        waiting: list[str] = []
        for content in body["contents"]:
            rule(content["role"] in ("user", "model"), "role")
            rule(bool(content["parts"]), "a content has parts")
            answers = [p["functionResponse"]["name"] for p in content["parts"] if "functionResponse" in p]
            rule(answers == waiting, f"function responses {answers} for calls {waiting}")
            calls = [p for p in content["parts"] if "functionCall" in p]
            waiting = [p["functionCall"]["name"] for p in calls]
            if calls:
                signature = calls[0].get("thoughtSignature", "")
                rule(bool(signature), "Function call is missing a thought_signature in functionCall parts.")
                raw = base64.urlsafe_b64decode(signature).decode()
                rule(raw in self.fake.issued or raw == "skip_thought_signature_validator", f"signature {raw}")
        rule(not waiting, "calls without responses")

    def events(self, turn: Turn) -> Iterator[str]:
        number = len(self.fake.requests)

        def chunk(*parts: Any, **more: Any) -> str:
            content = {"role": "model", "parts": list(parts)}
            data = {"candidates": [{"content": content, "index": 0, **more}], "modelVersion": "gemini-3.5-flash-lite"}
            if "finishReason" in more:
                data["usageMetadata"] = {
                    "promptTokenCount": 100,
                    "cachedContentTokenCount": 40,
                    "candidatesTokenCount": 15,
                    "thoughtsTokenCount": 5,
                    "totalTokenCount": 120,
                }
            return sse(data).replace("\n\n", "\r\n\r\n")

        if turn.stop == "BLOCKED":
            yield sse({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}})
            return
        if turn.thinking:
            yield chunk({"text": turn.thinking, "thought": True})
        if turn.text:
            for half in halves(turn.text):
                yield chunk({"text": half})
        for call, (name, arguments) in enumerate(turn.calls):
            function: dict[str, Any] = {"name": name, "args": arguments}
            if self.fake.ids:
                function["id"] = f"fc_{number}_{call}"
            part: dict[str, Any] = {"functionCall": function}
            if call == 0:
                signature = self.seen(f"sig-{number}")
                part["thoughtSignature"] = base64.b64encode(signature.encode()).decode()
            yield chunk(part)
        yield chunk({"text": ""}, finishReason=turn.stop or "STOP")

    def error(self, status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
        words = {429: "RESOURCE_EXHAUSTED", 400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED"}
        body = {"error": {"code": status, "message": message, "status": words.get(status, "INTERNAL")}}
        return web.json_response(body, status=status, headers=headers or {})

    def error_event(self) -> str:
        return sse({"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}})


class Chat(Dialect):
    """OpenAI-compatible Chat Completions of a local server."""

    def check(self, request: web.Request, body: dict[str, Any]) -> None:
        known = {"model", "messages", "tools", "max_tokens", "stream", "stream_options"}
        rule(not body.keys() - known, f"local servers do not know {body.keys() - known}")
        rule(bool(body["model"]), "model")
        for tool in body.get("tools", []):
            rule(bool(self.name.fullmatch(tool["function"]["name"])), "tool name")
            rule("strict" not in tool["function"], "no strict mode")
            self.check_schema(tool["function"]["parameters"])
        waiting: list[str] = []
        for message in body["messages"]:
            rule(message["role"] in ("system", "user", "assistant", "tool"), "role")
            if message["role"] == "tool":
                waiting.remove(message["tool_call_id"])
            else:
                rule(not waiting, f"calls without results {waiting}")
            for call in message.get("tool_calls", []):
                json.loads(call["function"]["arguments"])
                waiting.append(call["id"])
        rule(not waiting, f"calls without results {waiting}")

    def events(self, turn: Turn) -> Iterator[str]:
        number = len(self.fake.requests)

        def chunk(delta: dict[str, Any], stop: str | None = None, **more: Any) -> str:
            choice = {"index": 0, "delta": delta, "finish_reason": stop}
            head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "local-model"}
            return sse({**head, "choices": [choice], **more})

        yield chunk({"role": "assistant", "content": ""})
        if turn.text:
            for half in halves(turn.text):
                yield chunk({"content": half})
        for call, (name, arguments) in enumerate(turn.calls):
            # as some local servers do: every call has the index 0, and comes whole
            function = {"name": name, "arguments": wire_arguments(arguments)}
            yield chunk(
                {"tool_calls": [{"index": 0, "id": f"call_{number}_{call}", "type": "function", "function": function}]}
            )
        yield chunk({}, turn.stop or ("tool_calls" if turn.calls else "stop"))
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        data = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "local-model", "choices": []}
        yield sse({**data, "usage": usage})
        yield "data: [DONE]\n\n"

    def error_event(self) -> str:
        return sse({"error": {"message": "it broke", "type": "server_error", "code": 500}})
