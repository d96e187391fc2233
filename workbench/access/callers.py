"""From what a request presents to the `Caller` it stands for. What is missing or malformed is nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.access.access_tokens import AccessTokenVerifier
from workbench.access.admission import Authenticator
from workbench.access.api_keys import ApiKeys, KeyInfo, fingerprint, local_key, new_key_id
from workbench.access.audiences import EVERYWHERE, ProtectedResources
from workbench.access.explanation import Explanation, explain
from workbench.access.local_user import user_name
from workbench.access.peer_certificates import SCHEME, WORKLOAD_US, PeerCertificates
from workbench.access.roles import OWNER, Roles, check_scopes, narrowed, read_roles, roles_file
from workbench.access.subjects import check_subject
from workbench.config import Settings, prepare_home
from workbench.control import ControlStore, ControlStoreError
from workbench.events import Caller, MisuseError, Tool, UnauthenticatedError, now_us
from workbench.lookalikes import imitated

if TYPE_CHECKING:
    from workbench.access.oauth.signing import LocalIssuer

CHECK_INTERVAL_S = 0.5
"""How often the database and the roles are looked at for changes made elsewhere."""
MAX_CACHED = 4096
_MAX_HEADER = 8192
_HINT = "Send `Authorization: Bearer <key>`; `workbench access` lists and creates keys."
_KEY = "mk_"
_CREDENTIALS = ("", "api_keys", "oauth_clients", "oauth_grants", "oauth_revoked_tokens")
"""Tables whose changes may take back what a caller presents; the empty name stands for any."""


class Access:
    """Who is calling: by a key of the control database, or by an access token of an issuer that the settings name.

    Args:
        settings: `home`, `tenant`, `authentication`, `oauth_*`, and `policy` for an edited `roles.toml`.
        clock: microseconds since the epoch, for expiry.
        ticks: seconds that only grow, for looking at changes made elsewhere.

    Raises:
        MisuseError: the state folder, the roles or the issuers cannot be used.
    """

    def __init__(
        self, settings: Settings, *, clock: Callable[[], int] = now_us, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = self._settings = settings
        self._home = prepare_home(settings.home)
        self._clock = clock
        self._ticks = ticks
        self._keys = ApiKeys(settings)
        self._keys.store.on_change.append(self._told)
        self._roles_stamp = _stamp(roles_file(settings))
        self._roles = read_roles(roles_file(settings))
        self.problem = ""
        """Why the roles as they are edited now are not in force; empty when they are."""
        self.resources = ProtectedResources(settings)
        """The URLs of this gateway."""
        self.peers = PeerCertificates(settings)
        """Clients that are known by the certificate of their connection."""
        self.issuer = self._own_issuer()
        """Our own issuer of tokens, when the setting `oauth_server` is on and our URL is known."""
        self.tokens = AccessTokenVerifier(settings, self.resources, own=self.issuer, clock=clock, ticks=ticks)
        """Access tokens, and where clients get them."""
        self._holders: dict[str, frozenset[str]] = {}
        """Who holds or held keys, by tenant."""
        self._known: dict[bytes, tuple[Caller, int, frozenset[str]]] = {}
        self._version = self._keys.version()
        self._check_at = ticks() + CHECK_INTERVAL_S
        self._checking = threading.Lock()
        self._generation = 0
        self._storing = threading.Lock()
        self._local: Caller | None = None
        self.admission = Authenticator(self)
        """Callers as the doors meet them."""

    @property
    def store(self) -> ControlStore:
        """Where keys and grants are."""
        return self._keys.store

    @property
    def blind(self) -> bool:
        """Whether nobody can be known any more, because the control store has not answered for too long."""
        try:
            self._keys.version()
        except ControlStoreError:
            return True
        return False

    @property
    def roles(self) -> Roles:
        """The roles in force."""
        return self._roles

    def authenticate(self, authorization: str | None) -> Caller:
        """The caller that presents this value of the `Authorization` header (RFC 6750 §2.1).

        With authentication switched off, which is only accepted on loopback, a request without the header is the local
        user; a header that is there is held to the same rules as ever.

        Raises:
            UnauthenticatedError: no header, a malformed one, or a key that is unknown, expired or revoked. The
                message never
                repeats what was presented.
        """
        known = self.remembered(authorization, "")
        if known is not None:
            return known
        assert authorization is not None
        generation = self._generation
        key = self._key_in(self._token_in(authorization))
        caller = self.caller_of(key)
        until = key.expires_us if key.expires_us is not None else 1 << 62
        return self._remember(authorization, generation, (caller, until, EVERYWHERE))

    async def authenticate_async(self, authorization: str | None, view: str = "") -> Caller:
        """As `authenticate`, and access tokens of OAuth too; who was seen lately is told without waiting.

        Args:
            authorization: value of the `Authorization` header.
            view: empty for the endpoint of all servers and the management API, else what the endpoint shows (the id of
                a server, or `profiles/name`): a token may be for that alone.

        Raises:
            UnauthenticatedError: as for `authenticate`, and for a token that is not good here.
        """
        known = self.remembered(authorization, view)
        if known is not None:
            return known
        assert authorization is not None
        if authorization.startswith(SCHEME):
            return await self._workload(authorization)
        token = self._token_in(authorization)
        if token.startswith(_KEY) or not self.tokens.accepted:
            return await self._keys.store.aside(self.authenticate, authorization)
        generation = self._generation
        facts = await self.tokens.verify(token)
        if like := imitated(facts.subject, await self._keys.store.aside(self._known_subjects, facts.tenant)):
            raise UnauthenticatedError(f"The subject of the token can be taken for {like!r}, who holds a key here.")
        roles = tuple(role for role in facts.roles if role in self._roles.roles)  # issuers have roles of other uses too
        caller = Caller(
            tenant=facts.tenant,
            subject=facts.subject,
            roles=roles,
            scopes=self._effective(roles, facts.scopes),
            credential=facts.credential,
            method=facts.method,
        )
        self._remember(authorization, generation, (caller, facts.until_us, facts.reach))
        if not _reaches(facts.reach, view):
            raise UnauthenticatedError("The token is for another endpoint.")
        return caller

    def local_caller(self) -> Caller:
        """The user of this machine, with the role owner."""
        if self._local is None:
            self._local = Caller(
                tenant=self._settings.tenant,
                subject=user_name(),
                roles=(OWNER,),
                scopes=self._roles.scopes((OWNER,)),
                credential="local",
                method="local",
            )
        return self._local

    def create_key(
        self,
        subject: str,
        *,
        roles: Collection[str],
        scopes: Collection[str] = (),
        tenant: str | None = None,
        expires_us: int | None = None,
        note: str = "",
        rate_per_minute: int | None = None,
    ) -> tuple[KeyInfo, str]:
        """Make a key; the second value is the token, which is never shown again.

        Args:
            subject: the person or program that will hold it.
            roles: names in `roles.toml`.
            scopes: narrow what the roles grant; without roles they are what the key grants.
            tenant: None means the tenant of the settings.
            expires_us: microseconds since the epoch; None means never.
            note: what it is for.
            rate_per_minute: calls per minute of its holder; None means what the settings say.

        Raises:
            MisuseError: a subject or tenant that hides something or looks like another subject, an unknown role, a
                malformed
                scope, an expiry in the past, a rate below one, or a key that could do nothing.
        """
        tenant = self._settings.tenant if tenant is None else tenant
        if isinstance(roles, str) or isinstance(scopes, str):
            raise MisuseError(
                "Roles and scopes of a key are lists of names.", hint="Give ('employee',), not 'employee'."
            )
        check_subject(subject, tenant, self._subjects(tenant))
        self._roles.check(roles)
        check_scopes(scopes, "The key")
        now = self._clock()
        if expires_us is not None and expires_us <= now:
            raise MisuseError(
                "The key would have expired already.", hint="Give a time to come, in microseconds since 1970."
            )
        if rate_per_minute is not None and rate_per_minute < 1:
            raise MisuseError(f"A key for {rate_per_minute} calls a minute.", hint="Expected 1 or more, or no rate.")
        info = KeyInfo(
            id=new_key_id(),
            tenant=tenant,
            subject=subject,
            roles=tuple(roles),
            scopes=tuple(scopes),
            created_us=now,
            expires_us=expires_us,
            note=note,
            rate_per_minute=rate_per_minute,
        )
        if not self._scopes(info):
            raise MisuseError("The key could do nothing.", hint="Give a role, or scopes that its roles grant.")
        token = self._keys.add(info)
        self._holders = {}
        return info, token

    def _subjects(self, tenant: str) -> frozenset[str]:
        """Who holds or held keys of a tenant, and the local user."""
        held = {key.subject for key in self._keys.all() if key.tenant == tenant}
        return frozenset(held | ({user_name()} if tenant == self._settings.tenant else set()))

    def _known_subjects(self, tenant: str) -> frozenset[str]:
        """`_subjects`, read once until keys change; the change of another process is noticed within a second."""
        known = self._holders  # a set that was read before a change must not get into what is remembered after it
        found = known.get(tenant)
        if found is None:
            found = known[tenant] = self._subjects(tenant)
        return found

    def keys(self) -> list[KeyInfo]:
        """All keys, oldest first; expired and revoked ones too."""
        return self._keys.all()

    def holder(self, id: str) -> Caller | None:
        """Whom the key of this id stands for, usable or not; None when there is none. `local` is the local user."""
        if id == "local":
            return self.local_caller()
        return next((self.caller_of(key) for key in self._keys.all() if key.id == id), None)

    def revoke(self, id: str) -> bool:
        """End a key at once here, and within a second in every other process. False when it was ended before.

        Raises:
            MisuseError: there is no key of this id.
        """
        done = self._keys.revoke(id, self._clock())
        self._forget()
        if not done and all(key.id != id for key in self._keys.all()):
            raise MisuseError(f"There is no key {id!r}.", hint="`workbench access keys` lists them.")
        return done

    def local_key(self) -> str:
        """The token of the local user, made once and kept in the file `token`, which only its owner may read."""
        return local_key(self._home, self._keys, tenant=self._settings.tenant, now_us=self._clock())

    def explain(self, caller: Caller, tool: Tool) -> Explanation:
        """Whether the scopes of `caller` suffice for `tool`, scope by scope, and which role each comes through."""
        return explain(self._roles, caller, tool)

    def close(self) -> None:
        """Close the databases."""
        self._keys.close()
        self.peers.close()
        if self.issuer is not None:
            self.issuer.close()

    def forget(self) -> None:
        """Look at every credential anew, because some may have been taken back."""
        self._forget()

    def granted(self, roles: Collection[str], scopes: Collection[str] = ()) -> frozenset[str]:
        """What roles grant, narrowed by scopes if there are any; without roles the scopes themselves."""
        return self._effective(roles, frozenset(scopes) if scopes or not roles else None)

    async def _workload(self, authorization: str) -> Caller:
        generation = self._generation
        client, until = await self.peers.client(authorization)
        caller = Caller(
            tenant=client.tenant,
            subject=client.id,
            roles=client.roles,
            scopes=self.granted(client.roles, client.scopes),
            credential=client.id,
            method="workload",
        )
        return self._remember(authorization, generation, (caller, min(until, self._clock() + WORKLOAD_US), EVERYWHERE))

    def _own_issuer(self) -> LocalIssuer | None:
        if not self._settings.oauth_server or not self.resources.origin:
            return None
        from workbench.access.oauth.signing import LocalIssuer

        return LocalIssuer(self._settings, self.resources.origin, self._keys, self._clock)

    def remembered(self, authorization: str | None, view: str) -> Caller | None:
        """Who presented this lately; None when it has to be looked at.

        Raises:
            UnauthenticatedError: nothing was presented, or it is for another endpoint.
        """
        if authorization is None:
            if self._settings.authentication:
                raise UnauthenticatedError("The request has no Authorization header.", hint=_HINT)
            return self.local_caller()
        if not isinstance(authorization, str):
            raise UnauthenticatedError("The Authorization header is no text.", hint=_HINT)
        mark = fingerprint(authorization)
        if self._ticks() >= self._check_at:
            self._look_for_changes()
        known = self._known.get(mark)
        if known is None or self._clock() >= known[1]:
            return None
        if not _reaches(known[2], view):
            raise UnauthenticatedError("The token is for another endpoint.")
        return known[0]

    def _remember(self, authorization: str, generation: int, entry: tuple[Caller, int, frozenset[str]]) -> Caller:
        with self._storing:
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            if generation == self._generation:  # else the credential may have been revoked since it was read
                self._known[fingerprint(authorization)] = entry
        return entry[0]

    def _token_in(self, authorization: str) -> str:
        if len(authorization) > _MAX_HEADER:
            raise UnauthenticatedError("The Authorization header is too long.", hint=_HINT)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthenticatedError("The Authorization header is not of the Bearer scheme.", hint=_HINT)
        return token

    def _key_in(self, token: str) -> KeyInfo:
        try:
            key = self._keys.find(token)
        except ControlStoreError as e:
            if not self._keys.store.local:
                raise  # an outage of a database elsewhere is no fault of the credential
            raise UnauthenticatedError(f"No key can be checked: {e}", hint=e.hint) from e
        if key is None:
            raise UnauthenticatedError("The Bearer token is no key of this workbench.", hint=_HINT)
        if not key.usable(self._clock()):
            state = "revoked" if key.revoked_us is not None else "expired"
            raise UnauthenticatedError(f"Key {key.id} is {state}.", hint="Create another one.")
        return key

    def caller_of(self, key: KeyInfo) -> Caller:
        """Who comes with `key`."""
        return Caller(
            tenant=key.tenant,
            subject=key.subject,
            roles=key.roles,
            scopes=self._scopes(key),
            credential=key.id,
            method="key",
            rate_per_minute=key.rate_per_minute,
        )

    def _scopes(self, key: KeyInfo) -> frozenset[str]:
        return self.granted(key.roles, key.scopes)

    def _effective(self, roles: Collection[str], scopes: frozenset[str] | None) -> frozenset[str]:
        """What roles grant, narrowed by the scopes of a credential; without roles the scopes themselves."""
        if scopes is None:
            return self._roles.scopes(roles)
        return narrowed(self._roles.scopes(roles), scopes) if roles else scopes

    def _look_for_changes(self) -> None:
        """Forget who is known when keys or roles were changed by anybody."""
        if not self._checking.acquire(blocking=False):
            return
        try:
            version = self._keys.version()
            self._look_at_roles()
            if version != self._version:
                self._version = version
                self._forget()
        except ControlStoreError:
            self._forget()  # every caller is looked up anew, and refused if that fails too
        finally:
            self._check_at = self._ticks() + CHECK_INTERVAL_S
            self._checking.release()

    def look_at_roles(self) -> None:
        """Put a changed file of roles in force now, not when the next caller comes; `problem` says if it is not."""
        if self._checking.acquire(blocking=False):
            try:
                self._look_at_roles()
            finally:
                self._checking.release()

    def _look_at_roles(self) -> None:
        path = roles_file(self._settings)
        stamp = _stamp(path)
        if stamp != self._roles_stamp:
            self._roles_stamp = stamp
            self._reread(path)

    def _told(self, table: str, key: str) -> None:
        """Another gateway changed something."""
        if table in _CREDENTIALS:
            self._forget()

    def _reread(self, path: Path | None) -> None:
        try:
            self._roles = read_roles(path)
        except MisuseError as e:
            self.problem = f"The changed roles are not in force, those before still are. {e}"
            return
        self.problem = ""
        self._local = None
        self._forget()

    def _forget(self) -> None:
        with self._storing:
            self._generation += 1
            self._known.clear()
            self._holders = {}


def _reaches(reach: frozenset[str], view: str) -> bool:
    return "" in reach or view in reach


def _stamp(path: Path | None) -> tuple[str, int, int] | None:
    try:
        return (str(path), path.stat().st_mtime_ns, path.stat().st_size) if path else None
    except OSError:
        return None
