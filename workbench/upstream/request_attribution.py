"""Whose call is meant by what an older server says on a channel that carries several.

Over Streamable HTTP a server's question comes on the stream of the request it is about. Over one channel for all
nothing says so. A call that was answered before has not caused it, and one that began later has not, either; so with
every answer there are fewer that it can be about. Only what can be about calls of one principal alone is ever told.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from workbench.events import JSON
from workbench.upstream.client_responder import NEEDED, ClientResponder
from workbench.upstream.deadline import Renew
from workbench.upstream.jsonrpc_messages import answer_to_server
from workbench.upstream.negotiation import METHOD_NOT_FOUND
from workbench.upstream.notification_relay import NotificationRelay

CARRIED: Final[JSON] = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
"""What is declared to an older server in the one handshake of such a channel: all that some client may be able to do.
A call whose client cannot is told apart when the server asks."""

UNCLEAR: Final = -32603


@dataclass(eq=False)
class UnderWay:
    """A call that was sent and not answered."""

    respondent: ClientResponder
    relay: NotificationRelay | None = None
    """Where logs go; None when the client wants none."""
    renew: Renew | None = None
    """Called with each sign that the server works on it."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    """Questions that its client has before it."""


@dataclass(eq=False)
class _Question:
    """A question, and the calls that it may be about."""

    about: list[UnderWay]
    lost: bool = False
    """Whether one of them went away unanswered: it may have been that one."""


class CallsInFlight:
    """The calls under way on one channel."""

    def __init__(self) -> None:
        self._calls: dict[UnderWay, None] = {}
        self._open: list[_Question] = []
        self._moved = asyncio.Event()
        self.asks = False
        """Whether the server has ever asked anything."""

    async def enter(self, respondent: ClientResponder) -> UnderWay:
        """Take note of a call before it is sent.

        On a server that is known to ask, those who can be asked take turns with other principals: of two questions at
        the same time nobody could say whose is which.
        """
        while self.asks and respondent.capabilities and self._another(respondent.whose):
            await self._moved.wait()
        call = UnderWay(respondent)
        self._calls[call] = None
        return call

    def leave(self, call: UnderWay, *, answered: bool) -> None:
        """The call is over: by an answer of the server, or because nobody waits for one any more."""
        if call not in self._calls:
            return
        del self._calls[call]
        call.over.set()
        for question in self._open:
            if call in question.about:
                question.about.remove(call)
                question.lost = question.lost or not answered
        self._stir()

    async def answer(self, message: JSON) -> JSON:
        """The response to a request of the server; a JSON-RPC message without its version."""
        if message.get("method") not in NEEDED:
            return answer_to_server(message)
        if not self._calls:
            return _refused(message, METHOD_NOT_FOUND, "Nobody can be asked: no call is under way.")
        self.asks = True
        question = _Question(list(self._calls))
        self._open.append(question)
        try:
            call = await self._meant(question)
        finally:
            self._open.remove(question)
            self._stir()
        if call is None:
            told = "It cannot be told for whom this is: calls of several people are under way."
            return _refused(message, UNCLEAR, told)
        return await self._asked(call, message)

    def log(self, message: JSON) -> bool:
        """Tell the one caller that a line of the log, or a notification of an extension, can be for; False when there
        is none, or are several.

        It is a sign of life of a call that is alone: of several, one may hang while another logs.
        """
        if len(self._calls) == 1 and (renew := next(iter(self._calls)).renew) is not None:
            renew()
        if len({call.respondent.whose for call in self._calls}) == 1:
            for call in self._calls:
                if call.relay is not None:
                    call.relay.add(message)
                    return True
        return False

    async def _meant(self, question: _Question) -> UnderWay | None:
        while question.about and not question.lost and not self._stuck(question):
            if len({call.respondent.whose for call in question.about}) == 1:
                able = [call for call in question.about if call.respondent.capabilities]
                return min(able or question.about, key=lambda call: call.asked)
            await self._moved.wait()
        return None

    def _stuck(self, question: _Question) -> bool:
        """Whether each of the calls may be waiting for an answer of its own, so that none would ever be over."""
        unclear = [one for one in self._open if set(one.about) <= set(question.about)]
        return len(unclear) >= len(question.about) > 1 and unclear[-1] is question

    async def _asked(self, call: UnderWay, message: JSON) -> JSON:
        loop = asyncio.get_running_loop()
        asking = loop.create_task(call.respondent.respond(message))
        over = loop.create_task(call.over.wait())
        call.asked += 1
        try:
            await asyncio.wait({asking, over}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
            return _refused(message, UNCLEAR, "The call that asked is over.")
        finally:
            call.asked -= 1
            asking.cancel()
            over.cancel()

    def _another(self, whose: str) -> bool:
        return any(call.respondent.capabilities and call.respondent.whose != whose for call in self._calls)

    def _stir(self) -> None:
        """Wake everybody who waits for something to change."""
        self._moved.set()
        self._moved = asyncio.Event()


def _refused(message: JSON, code: int, told: str) -> JSON:
    return {"id": message["id"], "error": {"code": code, "message": told}}
