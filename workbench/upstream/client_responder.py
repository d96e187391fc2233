"""Who answers what a server asks in the course of a request: elicitation, sampling, roots."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from workbench.events import JSON, Caller
from workbench.registry.connection import RpcError
from workbench.upstream.jsonrpc_messages import answer_to_server

NEEDED: Final = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}
"""What a server may ask, and the capability that a client declares who can answer it."""

REQUEST_TIMEOUT_S: Final = 300.0
"""Seconds that a person gets to answer; the deadline of the call stands still meanwhile."""


def whose(caller: Caller) -> str:
    """The principal, as `ClientResponder.whose` has it. Names may have blanks, and nobody is taken for another."""
    return f"{len(caller.tenant)}:{caller.tenant} {caller.subject}"


@dataclass(frozen=True)
class ClientResponder:
    """The client behind a request, as far as a server can ask it something."""

    capabilities: JSON
    """What it declared, of `elicitation`, `sampling` and `roots`."""
    whose: str
    """Tenant and subject: what belongs to one is never used for another."""
    ask: Callable[[JSON], Awaitable[JSON]]
    """Given `{"method", "params"}`, gives the result; raises RpcError, or TimeoutError when nobody answers."""

    async def answer(self, request: JSON) -> JSON:
        """The client's result.

        Raises:
            RpcError: the client answered with an error, cannot do that, or did not answer in time.
        """
        method = str(request.get("method"))
        if NEEDED.get(method) not in self.capabilities:
            raise RpcError(-32601, f"{method[:100]} is not available: the client declared no such capability.")
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                return await self.ask({"method": method, "params": request.get("params") or {}})
        except TimeoutError as e:
            raise RpcError(-32603, f"Nobody answered {method} within {REQUEST_TIMEOUT_S:g} s.") from e

    async def respond(self, message: JSON) -> JSON:
        """The response to a request that an older server sent; a JSON-RPC message without its version."""
        if message.get("method") not in NEEDED:
            return answer_to_server(message)
        try:
            return {"id": message["id"], "result": await self.answer(message)}
        except RpcError as e:
            error: JSON = {"code": e.code, "message": str(e.args[0])}
            return {"id": message["id"], "error": error if e.data is None else {**error, "data": e.data}}

    def unhurried(self, deadline: asyncio.Timeout) -> ClientResponder:
        """The same, with `deadline` standing still while somebody thinks about an answer."""

        async def ask(request: JSON) -> JSON:
            clock = asyncio.get_running_loop().time
            until = deadline.when()
            if until is None:
                return await self.ask(request)
            left = until - clock()
            with contextlib.suppress(RuntimeError):  # it is over already
                deadline.reschedule(clock() + REQUEST_TIMEOUT_S + left)
            try:
                return await self.ask(request)
            finally:
                with contextlib.suppress(RuntimeError):
                    deadline.reschedule(clock() + left)

        return replace(self, ask=ask)


def askable(capabilities: object) -> JSON:
    """Of declared capabilities those that let a server ask something, in their plainest form."""
    found: JSON = {}
    for name, options in (("elicitation", ("form", "url")), ("sampling", ("tools", "context")), ("roots", ())):
        declared = capabilities.get(name) if isinstance(capabilities, dict) else None
        if isinstance(declared, dict):
            found[name] = {option: {} for option in options if isinstance(declared.get(option), dict)}
    return found
