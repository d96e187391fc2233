"""Sessions of older clients: the id itself carries all there is to know, sealed, so that any replica can read it."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Final

import msgspec

from workbench.bounded_dict import BoundedDict
from workbench.cluster.sealed_tokens import SealedTokens
from workbench.events import JSON, Caller, Record

LIFETIME_S: Final = 7 * 24 * 3600
_MAX_KNOWN: Final = 8192
_MAX_LENGTH: Final = 4096
_CONTEXT: Final = b"mcp session v1"


class Session(Record, frozen=True, kw_only=True):
    """What `initialize` agreed on."""

    id: str
    tenant: str
    subject: str
    view: str
    """The endpoint it belongs to, see `views`."""
    revision: str
    capabilities: JSON = msgspec.field(default_factory=dict)
    client: JSON = msgspec.field(default_factory=dict)
    started: int = 0

    def belongs_to(self, caller: Caller) -> bool:
        """Whether `caller` is the one who began it."""
        return (self.tenant, self.subject) == (caller.tenant, caller.subject)


class Sessions:
    """Makes and reads session ids.

    Nobody can make an id, change one, or use one of another principal. That one was ended is remembered as long as the
    process lives: an ended session gives no rights that its owner does not have without it.

    Args:
        home: the state folder; the key lies there, readable by its owner alone, and is shared by all replicas.
    """

    def __init__(self, home: Path) -> None:
        self._seal = SealedTokens(home / "session.key", _CONTEXT)
        self._known: BoundedDict[str, Session] = BoundedDict(_MAX_KNOWN)
        self._ended: BoundedDict[str, int] = BoundedDict(_MAX_KNOWN)

    def begin(self, caller: Caller, view: str, revision: str, capabilities: JSON, client: JSON) -> str:
        """The id of a new session of `caller`."""
        session = Session(
            id=secrets.token_hex(8),
            tenant=caller.tenant,
            subject=caller.subject,
            view=view,
            revision=revision,
            capabilities=capabilities,
            client=client,
            started=int(time.time()),
        )
        token = self._seal.close(msgspec.json.encode(session))
        if (
            len(token) > _MAX_LENGTH
        ):  # a client that describes itself at length must not make an id that no proxy carries
            return self.begin(caller, view, revision, {}, {})
        return token

    def find(self, token: str, caller: Caller, view: str) -> Session | None:
        """The session of that id, if it is whole, alive, the caller's own, and of this endpoint."""
        session = self._known.get(token) or self._open(token)
        if session is None or session.id in self._ended or not session.belongs_to(caller) or session.view != view:
            return None
        return session if session.started + LIFETIME_S > time.time() else None

    def end(self, session: Session) -> None:
        """Refuse the session from now on."""
        if len(self._ended) >= _MAX_KNOWN:
            alive = time.time() - LIFETIME_S
            for id in [id for id, started in self._ended.items() if started <= alive]:
                del self._ended[id]
        self._ended[session.id] = session.started

    def _open(self, token: str) -> Session | None:
        data = self._seal.open(token) if len(token) <= _MAX_LENGTH else None
        try:
            session = msgspec.json.decode(data or b"", type=Session)
        except msgspec.DecodeError:
            return None
        self._known[token] = session
        return session
