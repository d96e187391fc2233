"""Questions that older clients are asked on their streams, on behalf of servers, and their answers."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any, Final

from workbench.cluster.message_relay import MessageRelay, Tell
from workbench.endpoint.http.http_request import EventStream
from workbench.endpoint.sessions import Session
from workbench.events import JSON, Caller, UnreachableError
from workbench.upstream.client_responder import ClientResponder, askable, whose
from workbench.upstream.jsonrpc_messages import rpc_error

Key = tuple[str, str, str, str]


ANSWER: Final = "answer"


class ClientRequests:
    """What is asked now, and of whom; only the client that was asked can answer, at whichever gateway process.

    Args:
        relay: reaches other processes; None where there is no way to them.
    """

    def __init__(self, relay: MessageRelay | None = None) -> None:
        self._open: dict[Key, asyncio.Future[JSON]] = {}
        self._here = relay.id if relay is not None else secrets.token_hex(6)
        self._relay = relay
        if relay is not None:
            relay.handlers[ANSWER] = self._answered_elsewhere

    def respondent(self, caller: Caller, session: Session | None, stream: EventStream | None) -> ClientResponder | None:
        """The client of a session as somebody who can be asked; None when it cannot be."""
        capabilities = askable(session.capabilities) if session is not None else {}
        if session is None or stream is None or not capabilities:
            return None

        async def ask(request: JSON) -> JSON:
            id = f"ask-{self._here}-{secrets.token_hex(8)}"
            params = request["params"]
            if params.get("mode") == "url" and "elicitationId" not in params:
                params = {**params, "elicitationId": id}  # required up to 2025-11-25, and unknown since
            key = _key(caller, session, id)
            future: asyncio.Future[JSON] = asyncio.get_running_loop().create_future()
            self._open[key] = future
            try:
                await stream.notify({"id": id, "method": request["method"], "params": params})
                return await future
            finally:
                del self._open[key]

        return ClientResponder(capabilities, whose(caller), ask)

    async def answered(self, caller: Caller, session: Session | None, message: JSON) -> bool:
        """Take a response that a client sent to where it is waited for; False when nobody waits for it any more.

        One to something that was not asked here has no effect.
        """
        id: Any = message.get("id")
        parts = id.split("-") if isinstance(id, str) else []
        if session is None or len(parts) != 3 or parts[0] != "ask":
            return True
        key = _key(caller, session, id)
        if self._relay is None or parts[1] == self._here:
            return self._take(key, message)
        try:
            answer = await self._relay.ask(parts[1], ANSWER, {"key": key, "message": message})
        except UnreachableError:
            return False
        return answer.get("taken") is True

    async def _answered_elsewhere(self, body: JSON, _: Tell) -> JSON:
        tenant, subject, session, id = body["key"]
        return {"taken": self._take((tenant, subject, session, id), body["message"])}

    def _take(self, key: Key, message: JSON) -> bool:
        future = self._open.get(key)
        if future is None or future.done():
            return False
        result, error = message.get("result"), message.get("error")
        if isinstance(result, dict):
            future.set_result(result)
        else:
            future.set_exception(rpc_error(error if isinstance(error, dict) else {}))
        return True


def _key(caller: Caller, session: Session, id: str) -> Key:
    return (caller.tenant, caller.subject, session.id, id)
