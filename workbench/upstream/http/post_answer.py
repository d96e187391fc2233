"""The answer to a POST, out of a body or an event stream, with what the server says meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from workbench.events import JSON
from workbench.upstream.http.body import (
    EVENTS_TYPE,
    USUAL_TYPES,
    answer_among,
    media_type,
    messages_of,
    no_answer,
    read_messages,
)
from workbench.upstream.http.content_coding import decoded
from workbench.upstream.http.response import HttpResponse
from workbench.upstream.http.server_url import HttpEndpoint
from workbench.upstream.http.sse_parser import LARGE, SseEvent, events
from workbench.upstream.jsonrpc_messages import Notify, result_of
from workbench.upstream.negotiation import IncompleteAnswerError

MAX_RESUMPTIONS: Final = 8
"""How often one answer's stream is taken up again after the server hung up."""

MAX_PAUSE_MS: Final = 30_000


class AnswerReader:
    """Reads the answers of one server.

    Args:
        endpoint: where a stream is taken up again.
        server: how to call the server in messages.
        max_bytes: largest message accepted.
        said: given each request and notification of the server, with what is notified of the request under way.
    """

    def __init__(
        self,
        endpoint: HttpEndpoint,
        server: str,
        max_bytes: int,
        said: Callable[[JSON, Notify | None], Awaitable[None]],
    ) -> None:
        self._endpoint = endpoint
        self._server = server
        self._max_bytes = max_bytes
        self._said = said

    async def result(
        self, response: HttpResponse, id: int, method: str, notify: Notify | None, resuming: Mapping[str, str] | None
    ) -> JSON:
        """The result of request `id` in a successful response.

        Args:
            response: with a status of 2xx.
            id: of the request.
            method: of the request.
            notify: awaited with each notification that belongs to it.
            resuming: headers with which a stream that broke off is asked for again; None when it cannot be.

        Raises:
            RpcError: the answer is an error.
            ApprovalRefusedError: it is no answer.
            IncompleteAnswerError: the stream ended without one.
        """
        content_type = response.headers.get("Content-Type", "")
        if content_type not in USUAL_TYPES and media_type(content_type) == EVENTS_TYPE:
            return result_of(await self._stream(response, id, notify, resuming), id, self._server, method)
        messages = await read_messages(response, content_type, self._server, self._max_bytes)
        if len(messages) == 1 and type(messages[0]) is dict and messages[0].get("id") == id and "result" in messages[0]:
            return result_of(messages[0], id, self._server, method)
        await self._hear(messages, notify)
        answer = answer_among(messages, id)
        if answer is None:
            raise no_answer(messages, self._server, response.status)
        return result_of(answer, id, self._server, method)

    async def announcements(self, response: HttpResponse) -> None:
        """Read the stream on which the server speaks by itself, until it ends."""
        async for event in events(decoded(response, self._server), max_bytes=self._max_bytes):
            await self._hear(await messages_of(event, self._server), None)

    async def _stream(
        self, response: HttpResponse, id: int, notify: Notify | None, resuming: Mapping[str, str] | None
    ) -> Any:
        """The response to `id` in a stream."""
        first, last_id, pause_ms = response, "", 1000
        try:
            for _ in range(MAX_RESUMPTIONS):
                async for event in events(decoded(response, self._server), max_bytes=self._max_bytes):
                    last_id, pause_ms = event.id or last_id, pause_ms if event.retry_ms is None else event.retry_ms
                    if event.data and (answer := await self._event(event, id, notify)) is not None:
                        return answer
                if not last_id or resuming is None:
                    break
                await asyncio.sleep(min(pause_ms, MAX_PAUSE_MS) / 1000)
                again = await self._endpoint.stream({**resuming, "Last-Event-ID": last_id})
                if again is None:
                    break
                response = again
        finally:
            if response is not first:
                response.close()
        raise IncompleteAnswerError(f"Server {self._server!r} ended the stream without an answer.")

    async def _event(self, event: SseEvent, id: int, notify: Notify | None) -> Any:
        """Deal with the messages of an event; the response to `id` if it is among them."""
        messages = await messages_of(event, self._server)
        if len(event.data) > LARGE:
            await asyncio.sleep(0)  # what follows encodes it again
        await self._hear(messages, notify)
        return answer_among(messages, id)

    async def _hear(self, messages: list[Any], notify: Notify | None) -> None:
        for message in messages:
            if isinstance(message, dict) and "method" in message:
                await self._said(message, notify)
