"""Calls to older servers that wait, in the middle, for what a client answers: here, or in another gateway process."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any, Final, NamedTuple

from workbench.cluster.message_relay import MessageRelay, ProcessGoneError, Tell
from workbench.error_codes import INVALID_PARAMS
from workbench.events import JSON, UnreachableError
from workbench.gateway.refusals import CallRefusedError
from workbench.registry.connection import RpcError
from workbench.upstream.client_responder import REQUEST_TIMEOUT_S, ClientResponder
from workbench.upstream.jsonrpc_messages import Notify, rpc_error

MAX_SUSPENDED: Final = 1024
RESUME: Final = "resume"


class InputRequest(NamedTuple):
    """What the client is asked, and where the call waits meanwhile."""

    questions: JSON
    handle: str
    at: str
    """Id of the process that holds the call."""


class SuspendedCall:
    """A request to an older server that waits for the client's answers."""

    def __init__(self, capabilities: JSON, whose: str, notify: Notify | None) -> None:
        self.respondent = ClientResponder(capabilities, whose, self._ask)
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


class SuspendedCalls:
    """The calls that wait in this process, and the way to those that wait in others.

    Args:
        relay: reaches other processes; None where there is no way to them.
    """

    def __init__(self, relay: MessageRelay | None = None) -> None:
        self.waiting: dict[str, SuspendedCall] = {}
        self.here = relay.id if relay is not None else secrets.token_hex(6)
        self._relay = relay
        if relay is not None:
            relay.handlers[RESUME] = self._resumed_for_another

    @property
    def full(self) -> bool:
        """Whether no further call can wait."""
        return len(self.waiting) >= MAX_SUSPENDED

    async def until_asked(self, parked: SuspendedCall) -> JSON | InputRequest:
        """The result, or what the client is asked while the call waits here."""
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
        self.waiting[handle] = parked
        parked.expiry = loop.call_later(REQUEST_TIMEOUT_S, self._expire, handle)
        return InputRequest(parked.questions, handle, self.here)

    async def resume(
        self, at: str, handle: str, whose: str, answers: Any, notify: Notify | None
    ) -> JSON | InputRequest:
        """Continue a call with a client's answers, wherever it waits.

        Args:
            at: the process that holds it.
            handle: of the call there.
            whose: tenant and subject.
            answers: by question.
            notify: as of `Connection.request`.

        Raises:
            CallRefusedError: it does not wait any more.
            UnreachableError: the process that holds it cannot be reached now; it may be later.
            RpcError, TimeoutError: as of `Connection.request`.
        """
        if at in ("", self.here):
            return await self._resume(handle, whose, answers, notify)
        if self._relay is None:
            told = "The gateway process that holds this call has ended, or shares no Redis with this one."
            raise _over(f"{told} Make the call again.")
        body = {"handle": handle, "whose": whose, "answers": answers if isinstance(answers, dict) else {}}
        try:
            return _read(await self._relay.ask(at, RESUME, body, notify=notify), at)
        except ProcessGoneError as e:
            raise _over("The gateway process that held this call has ended. Make the call again.") from e

    async def close(self) -> None:
        """Give up every call that waits."""
        waiting = [parked.request for parked in self.waiting.values() if parked.request is not None]
        for handle in list(self.waiting):
            self._expire(handle)
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _resume(self, handle: str, whose: str, answers: Any, notify: Notify | None) -> JSON | InputRequest:
        parked = self.waiting.get(handle)
        if parked is None or parked.request is None or parked.respondent.whose != whose:
            raise _over("What the server asked has expired, or was answered already. Make the call again.")
        del self.waiting[handle]
        if parked.expiry is not None:
            parked.expiry.cancel()
        parked.tell = notify
        parked.answered(answers)
        return await self.until_asked(parked)

    async def _resumed_for_another(self, body: JSON, tell: Tell) -> JSON:
        """Continue a call for a client whose answers reached another process."""
        try:
            found = await self._resume(body["handle"], body["whose"], body["answers"], tell)
        except CallRefusedError as e:
            return {"over": str(e)}
        except RpcError as e:
            return {"error": {"code": e.code, "message": str(e.args[0]), "data": e.data}}
        except UnreachableError as e:
            return {"unreachable": str(e)}
        except TimeoutError:
            return {"late": True}
        return {"asked": [found.questions, found.handle]} if isinstance(found, InputRequest) else {"result": found}

    def _expire(self, handle: str) -> None:
        parked = self.waiting.pop(handle, None)
        if parked is not None and parked.request is not None:
            parked.request.cancel()


def _read(answer: JSON, at: str) -> JSON | InputRequest:
    """What another process says of a call that waited there."""
    if "asked" in answer:
        questions, handle = answer["asked"]
        return InputRequest(questions, handle, at)
    if "over" in answer:
        raise _over(answer["over"])
    if "error" in answer:
        raise rpc_error(answer["error"])
    if "unreachable" in answer:
        raise UnreachableError(answer["unreachable"])
    if "late" in answer:
        raise TimeoutError
    return answer["result"]  # type: ignore[no-any-return]


def _over(message: str) -> CallRefusedError:
    return CallRefusedError("invalid", message, rule="parked", malformed=True, code=INVALID_PARAMS)
