"""Questions that older clients are asked on their streams, on behalf of servers, and their answers."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from workbench.events import JSON, Caller
from workbench.gateway.request import Stream
from workbench.gateway.sessions import Session
from workbench.gateway.upstream.messages import rpc_error
from workbench.gateway.upstream.respondent import Respondent, askable

Key = tuple[str, str, str, str]


class Questions:
    """What is asked now, and of whom; only the client that was asked can answer."""

    def __init__(self) -> None:
        self._open: dict[Key, asyncio.Future[JSON]] = {}

    def respondent(self, caller: Caller, session: Session | None, stream: Stream | None) -> Respondent | None:
        """The client of a session as somebody who can be asked; None when it cannot be."""
        capabilities = askable(session.capabilities) if session is not None else {}
        if session is None or stream is None or not capabilities:
            return None

        async def ask(request: JSON) -> JSON:
            id = f"ask-{secrets.token_hex(8)}"
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

        return Respondent(capabilities, f"{caller.tenant} {caller.subject}", ask)

    def answered(self, caller: Caller, session: Session | None, message: JSON) -> None:
        """Take a response that a client sent; one that nobody waits for has no effect."""
        id: Any = message.get("id")
        future = self._open.get(_key(caller, session, id)) if session is not None and isinstance(id, str) else None
        if future is None or future.done():
            return
        result, error = message.get("result"), message.get("error")
        if isinstance(result, dict):
            future.set_result(result)
        else:
            future.set_exception(rpc_error(error if isinstance(error, dict) else {}))


def _key(caller: Caller, session: Session, id: str) -> Key:
    return (caller.tenant, caller.subject, session.id, id)
