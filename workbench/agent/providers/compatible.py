"""Servers on this machine or in the house that speak OpenAI's Chat Completions: llama.cpp, Ollama, LM Studio, vLLM.

They lack what only OpenAI has (stored responses, the developer role, reasoning effort, strict schemas), so none of it
is sent. A server is recognised by what it says of itself, not by an open port.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from workbench.agent.provider import (
    AssistantMessage,
    DetectedServer,
    Message,
    Part,
    SystemMessage,
    ToolResults,
    ToolSpec,
    TurnEnd,
    UserMessage,
)
from workbench.agent.providers.provider_errors import fault
from workbench.agent.providers.remote_provider import MAX_RETRIES, RemoteProvider, StreamedAnswer, http_timeout
from workbench.agent.providers.tool_call_arguments import count, requested, safe_tool_name
from workbench.events import JSON, Record, Usage
from workbench.provider_table import PROVIDERS

ROW = PROVIDERS["compatible"]
PROBE_TIMEOUT_S = 0.4


class _Sign(Record, frozen=True, kw_only=True):
    """How one kind of server is recognised: where it listens, and what only it answers there."""

    kind: str
    port: int
    path: str
    recognises: Callable[[Any], bool]


_SIGNS = (
    _Sign(
        kind="Ollama",
        port=11434,
        path="/api/version",
        recognises=lambda body: isinstance(body, dict) and isinstance(body.get("version"), str),
    ),
    _Sign(
        kind="llama.cpp",
        port=8080,
        path="/props",
        recognises=lambda body: isinstance(body, dict) and "default_generation_settings" in body,
    ),
    _Sign(
        kind="LM Studio",
        port=1234,
        path="/api/v0/models",
        recognises=lambda body: isinstance(body, dict) and body.get("object") == "list",
    ),
    _Sign(
        kind="vLLM",
        port=8000,
        path="/v1/models",
        recognises=lambda body: (
            isinstance(body, dict)
            and any(isinstance(m, dict) and m.get("owned_by") == "vllm" for m in body.get("data") or [])
        ),
    ),
)


def configured_url(env: Mapping[str, str]) -> str:
    """The address that the environment names: `COMPATIBLE_BASE_URL` (with its /v1), else `OLLAMA_HOST`; or empty."""
    if url := ROW.base_url(env):
        return url
    host = env.get("OLLAMA_HOST", "")
    if not host:
        return ""
    host = host if "//" in host else f"http://{host}"
    scheme, _, rest = host.partition("//")
    name, colon, port = rest.rstrip("/").partition(":")
    name = "127.0.0.1" if name in ("", "0.0.0.0") else name  # noqa: S104  compared, not bound
    return f"{scheme}//{name}:{port if colon else 11434}/v1"


async def detect(env: Mapping[str, str], *, ports: Mapping[str, int] | None = None) -> DetectedServer | None:
    """The first server that is recognised on loopback within `PROBE_TIMEOUT_S`, or None.

    Args:
        env: a configured address is taken at its word.
        ports: other ports by kind, e.g. `{"llama.cpp": 18080}`.
    """
    import httpx2

    if url := configured_url(env):
        return DetectedServer(kind="configured", base_url=url)
    ports = ports or {}
    # A proxy has no business between us and our own machine.
    async with httpx2.AsyncClient(timeout=PROBE_TIMEOUT_S, trust_env=False) as client:
        asked = [_probe(client, sign, ports.get(sign.kind, sign.port)) for sign in _SIGNS]
        return next((found for found in await asyncio.gather(*asked) if found), None)


async def _probe(client: Any, sign: _Sign, port: int) -> DetectedServer | None:
    import httpx2

    try:
        response = await client.get(f"http://127.0.0.1:{port}{sign.path}")
        body = response.json() if response.status_code == 200 else None
    except (httpx2.HTTPError, ValueError):
        return None
    return DetectedServer(kind=sign.kind, base_url=f"http://127.0.0.1:{port}/v1") if sign.recognises(body) else None


def build(model: str, env: Mapping[str, str], *, base_url: str = "") -> Compatible:
    """The adapter for one run, at `base_url` or where the environment says."""
    return Compatible(model, key=ROW.key(env) or "none", base_url=base_url or configured_url(env))


class Compatible(RemoteProvider):
    """One connection pool to a server that speaks Chat Completions."""

    row = ROW
    default_host = "no address"

    def __repr__(self) -> str:
        return f"<Compatible {self.model or '(first model)'} at {self.base_url or self.default_host}>"

    def check_configuration(self) -> None:
        """An address is needed, and no key."""
        if not self.base_url:
            hint_key = ROW.base_urls[0]
            raise fault("no_key", ROW.name, "no local server was found and no address is configured.", key=hint_key)

    def connect(self) -> Any:
        """See `RemoteProvider.connect`."""
        from openai import AsyncOpenAI

        return AsyncOpenAI(api_key=self.key, base_url=self.base_url, max_retries=MAX_RETRIES)

    def error_class(self) -> type[Exception]:
        """See `RemoteProvider.error_class`."""
        from openai import OpenAIError

        return OpenAIError

    def request(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, max_output_tokens: int, timeout: float
    ) -> JSON:
        """The arguments of `chat.completions.create`, without the model."""
        request: JSON = {
            "messages": _messages(conversation),
            "max_tokens": max_output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "timeout": http_timeout(timeout),
        }
        if tools:  # an empty list is refused by some
            request["tools"] = [_tool(spec) for spec in tools]
        return request

    @asynccontextmanager
    async def stream(self, request: JSON, *, timeout: float) -> AsyncIterator[Any]:
        """See `RemoteProvider.stream`."""
        self.model = self.model or await self._first_model()
        async with await self.client.chat.completions.create(model=self.model, **request) as chunks:
            yield chunks

    async def _first_model(self) -> str:
        async for model in self.client.models.list():
            return str(model.id)
        raise fault("unknown_model", ROW.name, f"{self.base_url} lists no model.")

    def new_answer(self) -> StreamedAnswer:
        """See `RemoteProvider.new_answer`."""
        return _StreamedCompletion()


class _StreamedCompletion(StreamedAnswer):
    """One completion on its way."""

    def __init__(self) -> None:
        self.calls: list[JSON] = []
        self.stop = ""
        self.usage = Usage()

    def take(self, chunk: Any) -> Iterable[str]:
        """See `StreamedAnswer.take`."""
        if counted := chunk.usage:
            details = counted.prompt_tokens_details
            self.usage = Usage(
                input_tokens=count(counted.prompt_tokens),
                output_tokens=count(counted.completion_tokens),
                cached_tokens=count(details.cached_tokens if details else None),
            )
        if not chunk.choices:
            return ()
        choice = chunk.choices[0]
        self.stop = str(choice.finish_reason or self.stop)
        for delta in choice.delta.tool_calls or []:
            self._grow(delta)
        return (choice.delta.content,) if choice.delta.content else ()

    def _grow(self, delta: Any) -> None:
        """Add to a call. Some servers give every call the index 0; a new id then begins a new one."""
        known = next((call for call in self.calls if call["index"] == delta.index), None)
        if known is None or (delta.id and known["id"] and delta.id != known["id"]):
            known = {"index": delta.index, "id": "", "name": "", "arguments": ""}
            self.calls.insert(0, known)
        known["id"] = delta.id or known["id"]
        if delta.function is not None:
            known["name"] += delta.function.name or ""
            known["arguments"] += delta.function.arguments or ""

    def finish(self) -> list[Part]:
        """See `StreamedAnswer.finish`."""
        match self.stop:
            case "":
                raise fault("cut", ROW.name, "the stream ended without a finish reason.")
            case "content_filter":
                raise fault("refused", ROW.name, "a filter held the answer back.")
            case "length":
                return [TurnEnd(usage=self.usage, stop=self.stop, truncated=True)]
        in_order = [requested(call["id"], call["name"], call["arguments"]) for call in reversed(self.calls)]
        return [*in_order, TurnEnd(usage=self.usage, stop=self.stop)]


def _tool(spec: ToolSpec) -> JSON:
    function = {"name": spec.name, "description": spec.description, "parameters": spec.schema}
    return {"type": "function", "function": function}


def _messages(conversation: Sequence[Message]) -> list[JSON]:
    """The conversation as chat messages; it has no form of its own that would have to be echoed."""
    messages: list[JSON] = []
    for message in conversation:
        match message:
            case SystemMessage():
                messages.append({"role": "system", "content": message.text})
            case UserMessage():
                messages.append({"role": "user", "content": message.text})
            case AssistantMessage():
                messages.append(_said(message))
            case ToolResults():
                messages += [
                    {"role": "tool", "tool_call_id": result.id, "content": result.text} for result in message.results
                ]
    return messages


def _said(message: AssistantMessage) -> JSON:
    import orjson

    said: JSON = {"role": "assistant", "content": message.text}
    if message.requests:
        said["tool_calls"] = [
            {
                "id": request.id,
                "type": "function",
                "function": {
                    "name": safe_tool_name(request.name),
                    "arguments": orjson.dumps(request.arguments).decode(),
                },
            }
            for request in message.requests
        ]
    return said
