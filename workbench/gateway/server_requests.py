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
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from workbench.cluster.message_relay import MessageRelay
from workbench.cluster.sealed_tokens import SealedTokens
from workbench.error_codes import INVALID_PARAMS
from workbench.events import JSON, Call, Record, digest
from workbench.gateway.refusals import CallRefusedError
from workbench.gateway.suspended_calls import InputRequest, SuspendedCall, SuspendedCalls
from workbench.registry.connection import Connection
from workbench.upstream.client_responder import ClientResponder, askable, whose
from workbench.upstream.jsonrpc_messages import Notify
from workbench.upstream.negotiation import CAPABILITIES_KEY, MODERN

INTERACTIVE: Final = ("tools/call", "prompts/get", "resources/read")
"""Where a server may ask for input (basic/patterns/mrtr)."""

MAX_ROUNDS: Final = 10
STATE_LIFETIME_S: Final = 24 * 3600


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
    """Handle of a request that waits in a gateway process."""
    at: str = ""
    """Id of that process."""


class ServerRequests:
    """Carries requests to servers, with whatever is asked on the way.

    Args:
        home: the state folder, where the key of the seal lies.
        relay: reaches the other processes of this deployment.
    """

    def __init__(self, home: Path, relay: MessageRelay | None = None) -> None:
        self._home = home
        self._sealed: SealedTokens | None = None
        self._parking = SuspendedCalls(relay)
        self._parked = self._parking.waiting

    async def request(
        self,
        call: Call,
        connection: Connection,
        method: str,
        params: JSON,
        meta: JSON,
        *,
        timeout: float,
        longest: float,
        notify: Notify | None,
        respondent: ClientResponder | None,
    ) -> JSON:
        """The result of one request, or that the client is asked for input.

        Raises:
            CallRefusedError: the state that came back is not this request's, or the server asks without end.
            RpcError: from the server, or from the client when it was asked.
            UnreachableError: see `Connection.request`.
            TimeoutError: no answer in time, the time for the client's answers not counted.
        """
        if method not in INTERACTIVE:
            return await connection.request(method, params, timeout=timeout, longest=longest, notify=notify, meta=meta)
        if respondent is None and (token := params.get("requestState")) is not None:
            state = self._opened(call, token)
            if state.parked:
                answers, mine = params.get("inputResponses"), whose(call.caller)
                found = await self._parking.resume(state.at, state.parked, mine, answers, notify)
                return self._told(call, found)
            params = {key: value for key, value in params.items() if key != "requestState"}
            if state.state is not None:
                params["requestState"] = state.state
        if connection.era == MODERN:
            if respondent is not None:
                return await self._rounds(connection, method, params, meta, timeout, longest, notify, respondent)
            result = await connection.request(
                method, params, timeout=timeout, longest=longest, notify=notify, meta=meta,
                respondent=notify and _nobody(call),
            )  # fmt: skip
            if _asks(result) and "requestState" in result:
                return {**result, "requestState": self._seal(call, state=result["requestState"])}
            return result
        if respondent is not None and respondent.capabilities:
            return await connection.request(
                method, params, timeout=timeout, longest=longest, notify=notify, meta=meta, respondent=respondent
            )
        capabilities = askable(meta.get(CAPABILITIES_KEY)) if respondent is None else {}
        if not capabilities or self._parking.full:
            return await connection.request(
                method, params, timeout=timeout, longest=longest, notify=notify, meta=meta, respondent=_nobody(call)
            )
        parked = SuspendedCall(capabilities, whose(call.caller), notify)
        parked.request = asyncio.get_running_loop().create_task(
            connection.request(
                method,
                params,
                timeout=timeout,
                longest=longest,
                notify=parked.notify,
                meta=meta,
                respondent=parked.respondent,
            )
        )
        # it may fail while nobody waits for it
        parked.request.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._told(call, await self._parking.until_asked(parked))

    async def _rounds(
        self,
        connection: Connection,
        method: str,
        params: JSON,
        meta: JSON,
        timeout: float,
        longest: float,
        notify: Notify | None,
        respondent: ClientResponder,
    ) -> JSON:
        """Put what a modern server asks to an older client, and ask the server again."""
        meta = {**meta, CAPABILITIES_KEY: respondent.capabilities}
        asked = params
        for _ in range(MAX_ROUNDS):
            result = await connection.request(
                method, asked, timeout=timeout, longest=longest, notify=notify, meta=meta, respondent=respondent
            )
            if not _asks(result):
                return result
            wanted = result.get("inputRequests")
            questions = wanted if isinstance(wanted, dict) else {}
            answers = await _all_of(respondent.answer(one) for one in questions.values())
            asked = {**params, "inputResponses": dict(zip(questions, answers, strict=True))}
            if "requestState" in result:
                asked["requestState"] = result["requestState"]
        raise CallRefusedError("failed", f"The server asked for input more than {MAX_ROUNDS} times.", rule="rounds")

    def _told(self, call: Call, found: JSON | InputRequest) -> JSON:
        """The result, or the questions with the place where the call waits for their answers."""
        if not isinstance(found, InputRequest):
            return found
        state = self._seal(call, parked=found.handle, at=found.at)
        return {"resultType": "input_required", "inputRequests": found.questions, "requestState": state}

    async def close(self) -> None:
        """Give up every request that waits for answers."""
        await self._parking.close()

    # --- the state that clients carry

    @property
    def _key(self) -> SealedTokens:
        if self._sealed is None:
            self._sealed = SealedTokens(self._home / "session.key", b"mcp request state v1")
        return self._sealed

    def _seal(self, call: Call, *, state: str | None = None, parked: str = "", at: str = "") -> str:
        carried = RequestState(
            tenant=call.caller.tenant,
            subject=call.caller.subject,
            request=_request(call),
            expires=int(time.time()) + STATE_LIFETIME_S,
            state=state,
            parked=parked,
            at=at,
        )
        return self._key.close(msgspec.json.encode(carried))

    def _opened(self, call: Call, token: Any) -> RequestState:
        data = self._key.open(token) if isinstance(token, str) else None
        if data is None:
            raise _invalid("The requestState is not one that was given out here.")
        state = msgspec.json.decode(data, type=RequestState)
        given = (state.tenant, state.subject, state.request)
        if given != (call.caller.tenant, call.caller.subject, _request(call)) or state.expires < time.time():
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


def _nobody(call: Call) -> ClientResponder:
    """A client that cannot be asked anything; a server on one channel for all has to know whose call it is, though."""

    async def ask(request: JSON) -> JSON:
        raise AssertionError("a client without capabilities was asked")

    return ClientResponder({}, whose(call.caller), ask)


def _asks(result: JSON) -> bool:
    return result.get("resultType") == "input_required"


def _request(call: Call) -> str:
    return digest([call.tool, call.arguments])


def _invalid(message: str) -> CallRefusedError:
    return CallRefusedError("invalid", message, malformed=True, code=INVALID_PARAMS)
