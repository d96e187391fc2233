"""Requests in the course of which a server asks the client something: the four crossings of the two eras.

At 2026-07-28 a server answers with what it wants to know and the client sends its request again, with the answers. Up
to 2025-11-25 the server sends a request of its own while it works. Here one becomes the other:

- modern to modern: the result passes; the server's state is sealed, so that only its owner can bring it back.
- older client, modern server: each question is put to the client, and the request sent again with the answers.
- modern client, older server: the request is parked when the server asks, and the client is given its handle.
- older to older: the server's request is put to the client while the call goes on.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from workbench.events import JSON, Call, Record, digest
from workbench.gateway.refusals import Refusal
from workbench.gateway.sealing import Seal
from workbench.gateway.upstream.messages import Notify
from workbench.gateway.upstream.respondent import PATIENCE, Respondent, askable
from workbench.gateway.upstream.revision import CAPABILITIES_KEY, MODERN
from workbench.gateway.wire import INVALID_PARAMS
from workbench.registry.connection import Connection

INTERACTIVE: Final = ("tools/call", "prompts/get", "resources/read")
"""Where a server may ask for input (basic/patterns/mrtr)."""

MOST_ROUNDS: Final = 10
MOST_PARKED: Final = 1024
STATE_S: Final = 24 * 3600


class RequestState(Record, frozen=True, kw_only=True):
    """What a client carries between two rounds: sealed, and good for this principal, request and time only."""

    tenant: str
    subject: str
    request: str
    """Digest of tool and arguments."""
    expires: int
    state: str | None = None
    """The server's own state."""
    parked: str = ""
    """Handle of a request that waits here."""


class Parked:
    """A request to an older server that waits for the client's answers."""

    def __init__(self, capabilities: JSON, whose: str, notify: Notify | None) -> None:
        self.respondent = Respondent(capabilities, whose, self._ask)
        self.request: asyncio.Task[JSON] | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self.tell = notify
        self.asked = asyncio.Event()
        self._open: dict[str, tuple[JSON, asyncio.Future[JSON]]] = {}

    @property
    def questions(self) -> JSON:
        return {key: request for key, (request, _) in self._open.items()}

    def answered(self, answers: Any) -> None:
        """Take answers; unknown keys are ignored, missing ones are asked for again."""
        for key, answer in answers.items() if isinstance(answers, dict) else ():
            if key in self._open and isinstance(answer, dict):
                _, future = self._open.pop(key)
                if not future.done():
                    future.set_result(answer)
        if self._open:
            self.asked.set()

    async def notify(self, message: JSON) -> None:
        if self.tell is not None:
            await self.tell(message)

    async def _ask(self, request: JSON) -> JSON:
        key = secrets.token_hex(4)
        future: asyncio.Future[JSON] = asyncio.get_running_loop().create_future()
        params = {name: value for name, value in request["params"].items() if name != "elicitationId"}
        self._open[key] = ({"method": request["method"], "params": params}, future)
        self.asked.set()
        try:
            return await future
        finally:
            self._open.pop(key, None)


class Dialogues:
    """Carries requests to servers, with whatever is asked on the way.

    Args:
        home: the state folder, where the key of the seal lies.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._sealed: Seal | None = None
        self._parked: dict[str, Parked] = {}

    async def request(
        self,
        call: Call,
        connection: Connection,
        method: str,
        params: JSON,
        meta: JSON,
        *,
        timeout: float,
        notify: Notify | None,
        respondent: Respondent | None,
    ) -> JSON:
        """The result of one request, or that the client is asked for input.

        Raises:
            Refusal: the state that came back is not this request's, or the server asks without end.
            RpcError: from the server, or from the client when it was asked.
            Unreachable: see `Connection.request`.
            TimeoutError: no answer in time, the time for the client's answers not counted.
        """
        if method not in INTERACTIVE:
            return await connection.request(method, params, timeout=timeout, notify=notify, meta=meta)
        if respondent is None and (token := params.get("requestState")) is not None:
            state = self._opened(call, token)
            if state.parked:
                return await self._resume(call, state.parked, params.get("inputResponses"), notify)
            params = {key: value for key, value in params.items() if key != "requestState"}
            if state.state is not None:
                params["requestState"] = state.state
        if connection.era == MODERN:
            if respondent is not None:
                return await self._rounds(connection, method, params, meta, timeout, notify, respondent)
            result = await connection.request(
                method, params, timeout=timeout, notify=notify, meta=meta, respondent=notify and _nobody(call)
            )
            if _asks(result) and "requestState" in result:
                return {**result, "requestState": self._seal(call, state=result["requestState"])}
            return result
        if respondent is not None and respondent.capabilities:
            return await connection.request(
                method, params, timeout=timeout, notify=notify, meta=meta, respondent=respondent
            )
        capabilities = askable(meta.get(CAPABILITIES_KEY)) if respondent is None else {}
        if not capabilities or len(self._parked) >= MOST_PARKED:
            return await connection.request(
                method, params, timeout=timeout, notify=notify, meta=meta, respondent=_nobody(call)
            )
        parked = Parked(capabilities, _whose(call), notify)
        parked.request = asyncio.get_running_loop().create_task(
            connection.request(
                method, params, timeout=timeout, notify=parked.notify, meta=meta, respondent=parked.respondent
            )
        )
        # it may fail while nobody waits for it
        parked.request.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await self._until_asked(call, parked)

    async def _rounds(
        self,
        connection: Connection,
        method: str,
        params: JSON,
        meta: JSON,
        timeout: float,
        notify: Notify | None,
        respondent: Respondent,
    ) -> JSON:
        """Put what a modern server asks to an older client, and ask the server again."""
        meta = {**meta, CAPABILITIES_KEY: respondent.capabilities}
        asked = params
        for _ in range(MOST_ROUNDS):
            result = await connection.request(
                method, asked, timeout=timeout, notify=notify, meta=meta, respondent=respondent
            )
            if not _asks(result):
                return result
            wanted = result.get("inputRequests")
            questions = wanted if isinstance(wanted, dict) else {}
            answers = await _all_of(respondent.answer(one) for one in questions.values())
            asked = {**params, "inputResponses": dict(zip(questions, answers, strict=True))}
            if "requestState" in result:
                asked["requestState"] = result["requestState"]
        raise Refusal("failed", f"The server asked for input more than {MOST_ROUNDS} times.", rule="rounds")

    # --- parked requests

    async def _resume(self, call: Call, handle: str, answers: Any, notify: Notify | None) -> JSON:
        parked = self._parked.pop(handle, None)
        if parked is None or parked.request is None:
            raise _invalid("What the server asked has expired, or was answered already. Make the call again.")
        if parked.expiry is not None:
            parked.expiry.cancel()
        parked.tell = notify
        parked.answered(answers)
        return await self._until_asked(call, parked)

    async def _until_asked(self, call: Call, parked: Parked) -> JSON:
        """The result, or the questions with a handle of the request that waits for their answers."""
        assert parked.request is not None
        loop = asyncio.get_running_loop()
        asked = loop.create_task(parked.asked.wait())
        try:
            await asyncio.wait({parked.request, asked}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            parked.request.cancel()
            raise
        finally:
            asked.cancel()
        if parked.request.done():
            return parked.request.result()
        parked.asked.clear()
        parked.tell = None
        handle = secrets.token_urlsafe(16)
        self._parked[handle] = parked
        parked.expiry = loop.call_later(PATIENCE, self._expire, handle)
        return {
            "resultType": "input_required",
            "inputRequests": parked.questions,
            "requestState": self._seal(call, parked=handle),
        }

    def _expire(self, handle: str) -> None:
        parked = self._parked.pop(handle, None)
        if parked is not None and parked.request is not None:
            parked.request.cancel()

    async def close(self) -> None:
        """Give up every request that waits for answers."""
        waiting = [parked.request for parked in self._parked.values() if parked.request is not None]
        for handle in list(self._parked):
            self._expire(handle)
        await asyncio.gather(*waiting, return_exceptions=True)

    # --- the state that clients carry

    @property
    def _key(self) -> Seal:
        if self._sealed is None:
            self._sealed = Seal(self._home / "session.key", b"mcp request state v1")
        return self._sealed

    def _seal(self, call: Call, *, state: str | None = None, parked: str = "") -> str:
        carried = RequestState(
            tenant=call.caller.tenant,
            subject=call.caller.subject,
            request=_request(call),
            expires=int(time.time()) + STATE_S,
            state=state,
            parked=parked,
        )
        return self._key.close(msgspec.json.encode(carried))

    def _opened(self, call: Call, token: Any) -> RequestState:
        data = self._key.open(token) if isinstance(token, str) else None
        if data is None:
            raise _invalid("The requestState is not one that was given out here.")
        state = msgspec.json.decode(data, type=RequestState)
        whose = (state.tenant, state.subject, state.request)
        if whose != (call.caller.tenant, call.caller.subject, _request(call)) or state.expires < time.time():
            raise _invalid("The requestState belongs to another request, or has expired.")
        return state


async def _all_of(work: Iterable[Coroutine[Any, Any, JSON]]) -> list[JSON]:
    """What all of them give; the first that fails ends the others."""
    tasks = [asyncio.get_running_loop().create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _whose(call: Call) -> str:
    return f"{call.caller.tenant} {call.caller.subject}"


def _nobody(call: Call) -> Respondent:
    """A client that cannot be asked anything; a server on one channel for all has to know whose call it is, though."""

    async def ask(request: JSON) -> JSON:
        raise AssertionError("a client without capabilities was asked")

    return Respondent({}, _whose(call), ask)


def _asks(result: JSON) -> bool:
    return result.get("resultType") == "input_required"


def _request(call: Call) -> str:
    return digest([call.tool, call.arguments])


def _invalid(message: str) -> Refusal:
    return Refusal("invalid", message, malformed=True, code=INVALID_PARAMS)
