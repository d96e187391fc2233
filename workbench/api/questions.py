"""Routes for questions: asking, streaming the steps of an answer, and stopping it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import msgspec
import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from workbench.api.error_responses import body_of, fault
from workbench.api.request_bodies import Question
from workbench.api.route_helpers import SOURCE, answer, needs, unless_gone
from workbench.events import Caller, Source, WorkbenchError
from workbench.platform.platform import Platform


def question_routes(platform: Platform) -> APIRouter:
    """Routes for questions."""
    router = APIRouter(tags=["questions"])
    anyone = needs(platform)

    @router.get("/api/platform/providers")
    def providers(caller: Caller = anyone) -> Response:
        """Who can answer questions here, and why or why not."""
        return answer({"providers": platform.providers()})

    @router.get("/api/platform/budget")
    async def budget(caller: Caller = anyone) -> Response:
        """What your runs may use, and have used today (UTC). A limit of 0 means no limit; costs are in US dollars."""
        return answer(await platform.budget(caller))

    @router.post("/api/platform/query")
    async def query(body: Question, request: Request, caller: Caller = anyone, source: Source = SOURCE) -> Response:
        """Answer a question with tools, as one document or as a stream of events. Disconnecting cancels the run."""
        history = [t.model_dump() for t in body.history]
        make: Callable[[], AsyncIterator[Any]] = lambda: platform.ask(  # noqa: E731
            body.question, caller, provider=body.provider, model=body.model, history=history, source=source,
            profile=body.profile,
        )  # fmt: skip
        if body.stream or "text/event-stream" in request.headers.get("accept", ""):
            headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
            return StreamingResponse(_event_stream(make()), media_type="text/event-stream", headers=headers)
        events = await unless_gone(request, _collect(make()))
        done = events[-1]
        return answer(
            {"run": done.run, "status": done.status, "answer": done.answer, "message": done.message, "events": events}
        )

    @router.post("/api/platform/runs/{run}/cancel")
    def cancel(run: str, caller: Caller = anyone) -> Response:
        """Cancel a run of your tenant."""
        return answer({"cancelled": platform.cancel(run, caller)})

    return router


async def _collect(events: AsyncIterator[Any]) -> list[Any]:
    async with aclosing(events) as stream:  # type: ignore[type-var]
        return [event async for event in stream]


async def _event_stream(events: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    async with aclosing(events) as stream:  # type: ignore[type-var]
        try:
            async for event in stream:
                yield b"data: " + msgspec.json.encode(event) + b"\n\n"
        # the status line has been sent: the error travels as the last event
        except WorkbenchError as e:
            yield b"data: " + orjson.dumps(body_of(e.error_kind, str(e.args[0]), e.hint)) + b"\n\n"
        except Exception as e:  # noqa: BLE001 - it is logged with its traceback, and the reader learns its id
            yield b"data: " + orjson.dumps(fault(e, "a run")) + b"\n\n"
