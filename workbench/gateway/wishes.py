"""What an older client has asked to be told in its session: from which level on logs, and of which resources."""

from __future__ import annotations

from typing import Any, Final

from workbench.events import JSON, NotRecorded
from workbench.gateway import wire
from workbench.gateway.answers import JSON_TYPE, Answer, say_error, say_not_recorded, say_of_method
from workbench.gateway.reading import Reading, Unroutable
from workbench.gateway.request import Request
from workbench.gateway.sessions import Session
from workbench.gateway.streams import KINDS, Wanted
from workbench.gateway.toolcall import LEVELS, LOG_LEVEL
from workbench.gateway.views import profile_of
from workbench.gateway.watches import SUBSCRIBE, UNSUBSCRIBE, Watches

WISHES: Final = ("logging/setLevel", SUBSCRIBE, UNSUBSCRIBE)

DEFAULT_LEVEL: Final = "info"
"""What a session gets that has said nothing; older servers may choose, and this is what most choose."""

MOST_SESSIONS: Final = 8192
MOST_PER_SESSION: Final = 100


class Wish:
    """The wishes of one session."""

    def __init__(self) -> None:
        self.level = DEFAULT_LEVEL
        self.wanted = Wanted(frozenset(KINDS))


class Wishes:
    """The wishes of all sessions, kept by the process that heard them; of too many the oldest are forgotten.

    Args:
        reading: knows who has a resource.
        watches: watches it.
    """

    def __init__(self, reading: Reading, watches: Watches) -> None:
        self._reading = reading
        self._watches = watches
        self._wishes: dict[str, Wish] = {}

    def of(self, session: Session) -> Wish:
        """What that session wants."""
        return self._wishes.get(session.id) or Wish()

    def forget(self, session: Session) -> None:
        """The session is over."""
        wish = self._wishes.pop(session.id, None)
        if wish is not None:
            self._watches.remove(wish.wanted.watched)

    def keep(self, session: Session) -> Wish:
        """The wish of that session, to be changed or waited on."""
        wish = self._wishes.setdefault(session.id, Wish())
        if len(self._wishes) > MOST_SESSIONS:
            oldest = next(iter(self._wishes))
            self._watches.remove(self._wishes.pop(oldest).wanted.watched)
        return wish

    async def answer(self, request: Request, session: Session, id: Any, method: str, params: JSON) -> Answer:
        """Answer one of the methods in `WISHES`."""
        wish = self.keep(session)
        if method == "logging/setLevel":
            level = params.get("level")
            if level not in LEVELS:
                told = f"The level is {str(level)[:50]!r}; expected one of {', '.join(LEVELS)}."
                return say_error(id, wire.INVALID_PARAMS, told, modern=False)
            wish.level = level
            return _done(id)
        watched = wish.wanted.watched
        try:
            found = await self._reading.owner(request, params.get("uri"))
        except Unroutable as e:
            return say_error(id, wire.INVALID_PARAMS, str(e), e.data, modern=False)
        if method == UNSUBSCRIBE:
            if watched.pop(found, None) is not None:
                self._watches.remove([found])
            return _done(id)
        if found in watched:
            return _done(id)
        if len(watched) >= MOST_PER_SESSION or self._watches.full:
            told = f"A session watches at most {MOST_PER_SESSION} resources."
            return say_error(id, wire.INVALID_PARAMS, told, modern=False)
        try:
            outcome = await self._watches.add(
                request.caller, *found, protocol=session.revision, session=session.id, profile=profile_of(request.view)
            )
        except NotRecorded as e:
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


def _done(id: Any) -> Answer:
    return Answer(200, [JSON_TYPE], wire.result(id, {}))
