"""What an older client has asked to be told in its session: from which level on logs, and of which resources."""

from __future__ import annotations

from typing import Any, Final

from workbench import error_codes
from workbench.bounded_dict import BoundedDict
from workbench.cluster.message_relay import MessageRelay, Tell
from workbench.endpoint.endpoint_scope import profile_of
from workbench.endpoint.features import Features, UnroutableRequestError
from workbench.endpoint.http import jsonrpc
from workbench.endpoint.http.http_request import EndpointRequest
from workbench.endpoint.http.responses import JSON_TYPE, EndpointResponse, say_error, say_not_recorded, say_of_method
from workbench.endpoint.resource_subscriptions import SUBSCRIBE, UNSUBSCRIBE, ResourceSubscriptions
from workbench.endpoint.sessions import LIFETIME_S, Session
from workbench.endpoint.subscriptions import KINDS, SubscriptionFilter
from workbench.endpoint.tools_call import LEVELS, LOG_LEVEL
from workbench.events import JSON, NotRecordedError

WISHES: Final = ("logging/setLevel", SUBSCRIBE, UNSUBSCRIBE)

DEFAULT_LEVEL: Final = "info"
"""What a session gets that has said nothing; older servers may choose, and this is what most choose."""

WISHED: Final = "wish"

MAX_SESSIONS: Final = 8192
MAX_PER_SESSION: Final = 100


class SessionPreference:
    """The wishes of one session."""

    def __init__(self) -> None:
        self.level = DEFAULT_LEVEL
        self.wanted = SubscriptionFilter(frozenset(KINDS))
        self.stream: EndpointRequest | None = None
        """On which they are told here, once there was one."""

    def to_dict(self) -> JSON:
        """What another process has to know of it."""
        return {"level": self.level, "watched": [[*of, known] for of, known in self.wanted.watched.items()]}


class SessionPreferences:
    """The wishes of all sessions; of too many the oldest are forgotten.

    A session may say what it wants at one gateway process and be told at another. So with a relay they are remembered
    for all, and the process that has the session's stream watches what is to be watched.

    Args:
        reading: knows who has a resource.
        watches: watches it.
        relay: reaches other processes; None where there is no way to them.
    """

    def __init__(self, reading: Features, watches: ResourceSubscriptions, relay: MessageRelay | None = None) -> None:
        self._reading = reading
        self._watches = watches
        self._relay = relay
        self._wishes: BoundedDict[str, SessionPreference] = BoundedDict(
            MAX_SESSIONS, dropped=lambda _, wish: self._watches.remove(wish.wanted.watched)
        )
        if relay is not None:
            relay.handlers[WISHED] = self._wished_elsewhere

    def of(self, session: Session) -> SessionPreference:
        """What that session wants."""
        return self._wishes.get(session.id) or SessionPreference()

    def forget(self, session: Session) -> None:
        """The session is over."""
        wish = self._wishes.pop(session.id, None)
        if wish is not None:
            self._watches.remove(wish.wanted.watched)

    def keep(self, session: Session) -> SessionPreference:
        """The wish of that session, to be changed or waited on."""
        return self._wishes.setdefault(session.id, SessionPreference())

    async def known(self, session: Session) -> SessionPreference:
        """What that session wants, whichever process it has told."""
        wish = self._wishes.get(session.id)
        if wish is not None or self._relay is None:
            return wish or SessionPreference()
        wish = self.keep(session)
        _adopt(wish, await self._relay.kept(_name(session.id)))
        return wish

    async def told_here(self, request: EndpointRequest, session: Session) -> SessionPreference:
        """The wish of a session whose stream `request` opens."""
        wish = await self.known(session) if self._relay is not None else self.keep(session)
        wish.stream = request
        await self._watch(session.id, wish)
        return wish

    async def _watch(self, session: str, wish: SessionPreference) -> None:
        """Watch what the session wanted watched elsewhere, as far as it still may."""
        if wish.stream is None or self._relay is None:
            return
        value = await self._relay.kept(_name(session)) or {}
        asked = {(server, uri): known for server, uri, known in value.get("watched", ())}
        watched = wish.wanted.watched
        for gone in [of for of in watched if of not in asked]:
            del watched[gone]
            self._watches.remove([gone])
        for of, known in asked.items():
            if of not in watched and len(watched) < MAX_PER_SESSION and not self._watches.full:
                view = profile_of(wish.stream.view)
                outcome = await self._watches.add(wish.stream.caller, *of, session=session, profile=view)
                if outcome.ok:
                    watched[of] = known

    async def _wished_elsewhere(self, body: JSON, _: Tell) -> JSON:
        wish = self._wishes.get(body["session"])
        if wish is not None and self._relay is not None:
            _adopt(wish, await self._relay.kept(_name(body["session"])))
            await self._watch(body["session"], wish)
        return {}

    async def _share(self, session: Session, wish: SessionPreference) -> None:
        if self._relay is not None:
            await self._relay.keep(_name(session.id), wish.to_dict(), LIFETIME_S)
            self._relay.tell(WISHED, {"session": session.id})

    async def answer(
        self, request: EndpointRequest, session: Session, id: Any, method: str, params: JSON
    ) -> EndpointResponse:
        """Answer one of the methods in `WISHES`."""
        answer = await self._answer(request, session, id, method, params)
        await self._share(session, self.keep(session))
        return answer

    async def _answer(
        self, request: EndpointRequest, session: Session, id: Any, method: str, params: JSON
    ) -> EndpointResponse:
        await self.known(session)
        wish = self.keep(session)
        if method == "logging/setLevel":
            level = params.get("level")
            if level not in LEVELS:
                told = f"The level is {str(level)[:50]!r}; expected one of {', '.join(LEVELS)}."
                return say_error(id, error_codes.INVALID_PARAMS, told, modern=False)
            wish.level = level
            return _done(id)
        watched = wish.wanted.watched
        try:
            found = await self._reading.owner(request, params.get("uri"))
        except UnroutableRequestError as e:
            return say_error(id, error_codes.INVALID_PARAMS, str(e), e.data, modern=False)
        if method == UNSUBSCRIBE:
            if watched.pop(found, None) is not None:
                self._watches.remove([found])
            return _done(id)
        if found in watched:
            return _done(id)
        if len(watched) >= MAX_PER_SESSION or self._watches.full:
            told = f"A session watches at most {MAX_PER_SESSION} resources."
            return say_error(id, error_codes.INVALID_PARAMS, told, modern=False)
        try:
            outcome = await self._watches.add(
                request.caller, *found, protocol=session.revision, session=session.id, profile=profile_of(request.view)
            )
        except NotRecordedError as e:
            return say_not_recorded(id, e)
        if not outcome.ok:
            return say_of_method(id, outcome, modern=False, resource=request.resource)
        if found in watched:
            self._watches.remove([found])  # asked for twice at once
        watched[found] = str(params["uri"])
        return _done(id)


def with_level(params: JSON, level: str) -> JSON:
    """`params` that tell a modern server from which level on the session wants logs."""
    meta = params.get("_meta")
    if meta is not None and not isinstance(meta, dict):
        return params
    return {**params, "_meta": {**(meta or {}), LOG_LEVEL: level}}


def _name(session: str) -> str:
    return f"wish:{session}"


def _adopt(wish: SessionPreference, value: JSON | None) -> None:
    if value is not None and value.get("level") in LEVELS:
        wish.level = value["level"]


def _done(id: Any) -> EndpointResponse:
    return EndpointResponse(200, [JSON_TYPE], jsonrpc.result(id, {}))
