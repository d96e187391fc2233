"""What all remote providers have in common: the key, the connection pool, and a turn as one streamed answer.

A provider subclasses `RemoteProvider` (what is sent, and how the stream is opened) and `StreamedAnswer` (what the
events of the stream mean). `docs/contributing/provider.md` shows a complete one.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import msgspec

from workbench.agent.prices import priced
from workbench.agent.provider import Message, Part, SystemMessage, ToolSpec, TurnEnd
from workbench.agent.providers.provider_errors import ProviderErrorTranslator, fault
from workbench.agent.providers.tool_call_arguments import piece
from workbench.events import JSON
from workbench.provider_table import ProviderRow

SILENCE_TIMEOUT_S = 120.0
"""Longest time without a byte."""
CONNECT_TIMEOUT_S = 10.0
MAX_RETRIES = 2
"""For the SDKs that retry by themselves: on 408, 409, 429, 5xx and lost connections, with the provider's
Retry-After."""


class StreamedAnswer(ABC):
    """One answer on its way. What does not have the form of the interface may raise any `LookupError`, `TypeError`,
    `AttributeError` or `ValueError`: the turn is then one that broke off."""

    cache_write_tokens = 0
    """Tokens of the input that were written to the provider's cache at a price of its own."""

    @abstractmethod
    def take(self, event: Any) -> Iterable[str]:
        """Add one event of the stream; the pieces of text that it brings.

        Raises:
            ProviderError: the event reports an error.
        """

    @abstractmethod
    def finish(self) -> list[Part]:
        """The requests for tools and then one `TurnEnd`, once the stream has ended. `RemoteProvider` adds the price.

        Raises:
            ProviderError: the answer is not complete, or the model declined.
        """


class RemoteProvider(ABC):
    """One connection pool to a provider's API, for one run. The client is made when the first turn begins.

    Args:
        model: its name at the provider.
        key: empty when none is set; `turn` then says so.
        base_url: where the API is; empty or None means the provider's own address.
    """

    row: ClassVar[ProviderRow]
    default_host: ClassVar[str]
    """Where the API is when there is no `base_url`; for people."""
    is_llm = True
    wants_all_tools = False

    def __init__(self, model: str, *, key: str, base_url: str | None) -> None:
        self.model = model
        self.key = key
        self.base_url = base_url or None
        self.client: Any = None
        """What `connect` returned."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.model} at {self.base_url or self.default_host}>"

    @property
    def name(self) -> str:
        return self.row.name

    @abstractmethod
    def connect(self) -> Any:
        """A new client. Imports the SDK, which may take seconds, and therefore runs in a thread."""

    @abstractmethod
    def error_class(self) -> type[Exception]:
        """Base class of the SDK's errors. Called after `connect`."""

    @abstractmethod
    def request(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, max_output_tokens: int, timeout: float
    ) -> JSON:
        """What is sent for one turn. The arguments are those of `Provider.turn`."""

    @abstractmethod
    def stream(self, request: JSON, *, timeout: float) -> AbstractAsyncContextManager[AsyncIterable[Any]]:
        """Send `request`. The block is entered when the answer begins, and closes the stream when it is left.

        Args:
            timeout: seconds that retries must not exceed.
        """

    @abstractmethod
    def new_answer(self) -> StreamedAnswer:
        """An answer to which the events of `stream` are added."""

    def check_configuration(self) -> None:
        """Whether there is all that a request needs.

        Raises:
            ProviderError: `no_key`; nothing has been sent.
        """
        if not self.key:
            raise fault("no_key", self.name, f"{self.row.keys[0]} is not set.", key=self.row.keys[0])

    async def turn(
        self,
        conversation: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        max_output_tokens: int,
        timeout: float,
    ) -> AsyncIterator[Part]:
        """One streamed answer. See `Provider.turn`."""
        self.check_configuration()
        await asyncio.to_thread(self._connect_once)
        request = self.request(conversation, tools, max_output_tokens=max_output_tokens, timeout=timeout)
        answer = self.new_answer()
        with ProviderErrorTranslator(self.name, key=self.row.keys[0], sdk=self.error_class()) as errors:
            async with self.stream(request, timeout=timeout) as events:
                errors.streaming = True
                async for event in events:
                    for text in answer.take(event):
                        yield piece(text)
            parts = [self._priced(part, answer) for part in answer.finish()]
        for part in parts:
            yield part

    def _connect_once(self) -> None:
        if self.row.price_id:
            import genai_prices  # noqa: F401 - needed when the turn ends
        if self.client is None:
            self.client = self.connect()

    def _priced(self, part: Part, answer: StreamedAnswer) -> Part:
        if not isinstance(part, TurnEnd):
            return part
        usage = priced(self.name, self.model, part.usage, cache_write_tokens=answer.cache_write_tokens)
        return msgspec.structs.replace(part, usage=usage)

    async def disconnect(self) -> None:
        """Close `client`."""
        await self.client.close()

    async def close(self) -> None:
        """Let go of the connections."""
        if self.client is not None:
            await self.disconnect()
            self.client = None


def http_timeout(timeout: float) -> Any:
    """The timeouts of one HTTP request whose turn may take `timeout` seconds."""
    import httpx2

    return httpx2.Timeout(min(timeout, SILENCE_TIMEOUT_S), connect=min(timeout, CONNECT_TIMEOUT_S))


def system_text(conversation: Sequence[Message]) -> str:
    """The system message; empty when there is none."""
    return "\n".join(message.text for message in conversation if isinstance(message, SystemMessage))
