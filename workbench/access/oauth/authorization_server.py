"""The authorization server as an ASGI application: metadata, keys, tokens, introspection, revocation, registration."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from workbench.access.callers import Access
from workbench.access.failed_credentials import TooManyFailuresError
from workbench.access.oauth.authorize import AuthorizationEndpoint
from workbench.access.oauth.clients import ClientMetadataDocuments, RegisteredClient, is_document_url
from workbench.access.oauth.grants import Grant
from workbench.access.oauth.requests import (
    OAuthRequestError,
    RequestParameters,
    answer,
    body,
    client_of,
    form,
    object_of,
)
from workbench.access.oauth.throttle import Throttle
from workbench.access.oauth.workloads import WorkloadAssertions
from workbench.access.outbound.fetch import JsonFetcher
from workbench.access.peer_certificates import mutual
from workbench.access.roles import SCOPE, narrowed
from workbench.control import ControlStoreError
from workbench.control.control_store import P, T
from workbench.events import JSON, Caller, MisuseError, NotRecordedError, UnauthenticatedError, now_us

Recorder = Callable[[str, JSON, str, str], Awaitable[None]]
"""Puts what happened on the record: event, detail, tenant, subject."""

METADATA = "/.well-known/oauth-authorization-server"
PREFIX = "/oauth/"
MAX_TOKENS_PER_MINUTE = 120
MAX_INTROSPECTIONS_PER_MINUTE = 300
MAX_REGISTRATIONS_PER_MINUTE = 5
MAX_TARGETS = 8
MAX_SCOPES = 200


class AuthorizationServer:
    """Issues tokens for the endpoints of this gateway.

    Args:
        access: the room that checks keys; its setting `oauth_server` has to be on.
        scopes: names all scopes that tools need, for the metadata and for requests that name none.
        record: puts what happened on the record, before it is answered.
        clock: microseconds since the epoch.
        ticks: seconds that only grow.
        fetcher: gets documents of clients.

    Raises:
        MisuseError: the setting is off, or our own URL is not known.
    """

    def __init__(
        self,
        access: Access,
        *,
        scopes: Callable[[], Sequence[str]],
        record: Recorder,
        clock: Callable[[], int] = now_us,
        ticks: Callable[[], float] = time.monotonic,
        fetcher: JsonFetcher | None = None,
    ) -> None:
        if access.issuer is None:
            raise MisuseError(
                "There is no authorization server here.",
                hint="Switch oauth_server on, and give a port or a public_url.",
            )
        self.issuer = access.issuer
        self.url = access.issuer.url
        self.resources = access.resources
        self.clock = clock
        self.ticks = ticks
        self.throttle = Throttle(ticks)
        self._access = access
        self._settings = access.settings
        self._scopes = scopes
        self._record = record
        socket = self._settings.oauth_spiffe_socket
        self.workloads = (
            WorkloadAssertions(socket, (self.url, f"{self.url}/oauth/token"), ticks=ticks) if socket else None
        )
        """Programs that show a JWT-SVID, where the setting `oauth_spiffe_socket` names who can check it."""
        self._documents = ClientMetadataDocuments(fetcher or JsonFetcher(), ticks)
        authorize = AuthorizationEndpoint(self)
        routes = [
            Route(METADATA, self._metadata),
            Route("/oauth/jwks", self._keys),
            Route("/oauth/authorize", self._told(authorize.ask), methods=["GET"]),
            Route("/oauth/authorize", self._told(authorize.decide), methods=["POST"]),
            Route("/oauth/token", self._told(self._token), methods=["POST"]),
            Route("/oauth/introspect", self._told(self._introspect), methods=["POST"]),
            Route("/oauth/revoke", self._told(self._revoke), methods=["POST"]),
        ]
        if self._settings.oauth_registration:
            routes.append(Route("/oauth/register", self._told(self._register), methods=["POST"]))
        self._app = Starlette(routes=routes)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one HTTP request."""
        await self._app(scope, receive, send)

    @staticmethod
    def answers(path: str) -> bool:
        """Whether a path is one of the server's."""
        return path == METADATA or path.startswith(PREFIX)

    # --- what the endpoints share ------------------------------

    async def client(self, id: str) -> RegisteredClient | None:
        """The client of this id, by whichever way it is known."""
        if is_document_url(id):
            return await self._documents.find(id)
        return await self.ask(self.issuer.clients.find, id)

    async def ask(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something that needs the control store, without holding up anybody else."""
        return await self.issuer.grants.store.aside(question, *args, **kwargs)

    async def person(self, key: str) -> Caller:
        """Who holds a key. Raises Unauthenticated when it is none; a token that was issued here is none either."""
        caller = await self.ask(self._access.authenticate, f"Bearer {key.strip()}")
        if caller.method != "key":
            raise UnauthenticatedError("Not a key.")
        return caller

    def peer(self, authorization: str) -> str:
        """The SPIFFE ID of the connection's peer; empty when the value is not of our TLS front."""
        try:
            return self._access.peers.read(authorization).spiffe_id
        except UnauthenticatedError:
            return ""

    def scopes(self, text: str) -> tuple[str, ...]:
        """The scopes of a request, each once."""
        found = tuple(dict.fromkeys(text.split()))
        wrong = next((s for s in found if s == "*" or not SCOPE.fullmatch(s)), None)
        if wrong is not None or len(found) > MAX_SCOPES:
            raise OAuthRequestError("invalid_scope", "The scopes are not written as scopes are, or are too many.")
        return found

    def scopes_supported(self) -> tuple[str, ...]:
        """All that tools need."""
        return tuple(self._scopes())

    def targets(self, asked: Sequence[str], among: Sequence[str] | None = None) -> tuple[str, ...]:
        """The resources of a request (RFC 8707); without any, the endpoint of all servers, or all that was granted."""
        if not asked:
            return tuple(among) if among is not None else (f"{self.url}/mcp",)
        for each in asked:
            if len(asked) > MAX_TARGETS or not self.resources.reach([each], own=True):
                raise OAuthRequestError("invalid_target", "A resource is not an endpoint of this gateway.")
            if among is not None and each not in among:
                raise OAuthRequestError("invalid_target", "A resource goes beyond what was granted.")
        return tuple(asked)

    async def record(
        self, event: str, client: RegisteredClient, detail: JSON, *, subject: str = "", tenant: str = ""
    ) -> None:
        """Put what happened on the record."""
        about = {"client": client.id, "name": client.name, "kind": client.kind, **detail}
        await self._record(event, about, tenant or client.tenant or self._settings.tenant, subject or client.id)

    def _told(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def told(request: Request) -> Response:
            try:
                return await handler(request)
            except OAuthRequestError as e:
                return (await self._refused(request, e)).response()
            except NotRecordedError:
                words = "Nothing can be recorded, so nothing is issued."
                return OAuthRequestError("temporarily_unavailable", words, 503, {"Retry-After": "1"}).response()
            except ControlStoreError:
                words = "Clients and grants cannot be looked up, so nothing is issued."
                return OAuthRequestError("temporarily_unavailable", words, 503, {"Retry-After": "1"}).response()

        return told

    async def _refused(self, request: Request, e: OAuthRequestError) -> OAuthRequestError:
        """`e`, counted where it is a client that could not prove itself."""
        if e.error == "invalid_client":
            try:
                await self._access.admission.failed(
                    request.scope, request.headers.get("authorization", ""), "oauth", str(e.args[0])
                )
            except TooManyFailuresError as many:
                return OAuthRequestError(
                    "temporarily_unavailable", str(many), 429, {"Retry-After": str(many.retry_after)}
                )
        return e

    def address(self, request: Request) -> str:
        """Who sent it, for counting."""
        return self._access.admission.addresses.of(request.scope)

    async def wrong_key(self, request: Request, key: str) -> None:
        """Count a key that was shown on the page of consent."""
        with contextlib.suppress(TooManyFailuresError):  # the page has a bound of its own
            await self._access.admission.failed(
                request.scope, f"Bearer {key.strip()}", "consent", "No key of this workbench."
            )

    def _throttled(self, request: Request, purpose: str, per_minute: int) -> None:
        wait = self.throttle.wait(self.address(request), purpose, per_minute)
        if wait:
            headers = {"Retry-After": str(int(wait) + 1)}
            raise OAuthRequestError("temporarily_unavailable", "Too many requests.", 429, headers)

    # --- endpoints ------------------------------

    async def _metadata(self, request: Request) -> Response:
        """RFC 8414."""
        ways = ["client_secret_basic", "client_secret_post", *(["private_key_jwt"] if self.workloads else [])]
        ways += ["tls_client_auth"] if self._settings.tls_port and mutual(self._settings) else []
        found: JSON = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/oauth/authorize",
            "token_endpoint": f"{self.url}/oauth/token",
            "jwks_uri": f"{self.url}/oauth/jwks",
            "introspection_endpoint": f"{self.url}/oauth/introspect",
            "revocation_endpoint": f"{self.url}/oauth/revoke",
            "scopes_supported": list(self.scopes_supported()),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
            "token_endpoint_auth_methods_supported": [*ways, "none"],
            "introspection_endpoint_auth_methods_supported": ways,
            "revocation_endpoint_auth_methods_supported": [*ways, "none"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "client_id_metadata_document_supported": True,
        }
        if self.workloads is not None:
            found["token_endpoint_auth_signing_alg_values_supported"] = ["ES256", "ES384", "RS256", "PS256"]
        if self._settings.oauth_registration:
            found["registration_endpoint"] = f"{self.url}/oauth/register"
        return answer(found)

    async def _keys(self, request: Request) -> Response:
        return answer(self.issuer.key_set())

    async def _token(self, request: Request) -> Response:
        self._throttled(request, "token", MAX_TOKENS_PER_MINUTE)
        asked = await form(request)
        client = await client_of(self, request, asked)
        kind = asked.need("grant_type")
        if kind == "client_credentials":
            return await self._own_token(client, asked)
        if kind == "authorization_code":
            grant = await self.ask(
                self.issuer.grants.redeem_code, asked.need("code"), client=client.id,
                redirect_uri=asked.get("redirect_uri"), verifier=asked.need("code_verifier"), now_us=self.clock(),
            )  # fmt: skip
        elif kind == "refresh_token":
            grant = await self.ask(
                self.issuer.grants.redeem_refresh_token, asked.need("refresh_token"), client=client.id,
                now_us=self.clock(),
            )  # fmt: skip
        else:
            raise OAuthRequestError("unsupported_grant_type", "That grant type is not supported.")
        if grant is None:
            self._access.forget()  # a code or token that came twice has ended what was granted
            await self.record("token refused", client, {"grant_type": kind})
            raise OAuthRequestError(
                "invalid_grant", "The code or token is not good, was used before, or was taken back."
            )
        return await self._granted_token(client, grant, asked, kind)

    async def _own_token(self, client: RegisteredClient, asked: RequestParameters) -> Response:
        """Client credentials (RFC 6749 §4.4)."""
        if not client.acts_alone:
            raise OAuthRequestError("unauthorized_client", "The client may not have tokens of its own.")
        wanted = self.scopes(asked.get("scope"))
        scopes = self._access.granted(client.roles, client.scopes)
        if wanted:
            scopes = narrowed(scopes, wanted) - {"*"}
            if not scopes:
                raise OAuthRequestError("invalid_scope", "The client has none of these scopes.")
        told = None if client.roles and not client.scopes and not wanted else scopes  # None: all of the roles
        token, claims = self.issuer.access_token(
            subject=client.id, client=client.id, tenant=client.tenant, roles=client.roles, scopes=told,
            resources=self.targets(asked.resources), seconds=self._settings.oauth_token_seconds,
        )  # fmt: skip
        return await self._issue(client, token, claims, "client_credentials")

    async def _granted_token(
        self, client: RegisteredClient, grant: Grant, asked: RequestParameters, kind: str
    ) -> Response:
        wanted = self.scopes(asked.get("scope")) if kind == "refresh_token" else ()
        scopes = narrowed(grant.scopes, wanted) if wanted else frozenset(grant.scopes)
        if not scopes:
            raise OAuthRequestError("invalid_scope", "The scopes go beyond what was granted.")
        token, claims = self.issuer.access_token(
            subject=grant.subject, client=client.id, tenant=grant.tenant, roles=grant.roles, scopes=scopes,
            resources=self.targets(asked.resources, grant.resources), seconds=self._settings.oauth_token_seconds,
            grant=grant.id,
        )  # fmt: skip
        grants, now = self.issuer.grants, self.clock()
        refresh = await self.ask(grants.new_refresh_token, grant, now) if client.refreshes else ""
        return await self._issue(client, token, claims, kind, refresh)

    async def _issue(
        self, client: RegisteredClient, token: str, claims: JSON, kind: str, refresh: str = ""
    ) -> Response:
        kept = ("jti", "aud", "scope", "exp", "grant")
        detail = {"grant_type": kind, **{name: claims[name] for name in kept if name in claims}}
        await self.record("token issued", client, detail, subject=claims["sub"], tenant=claims["tenant"])
        found: JSON = {"access_token": token, "token_type": "Bearer", "expires_in": claims["exp"] - claims["iat"]}
        found |= {"scope": claims["scope"]} if "scope" in claims else {}
        found |= {"refresh_token": refresh} if refresh else {}
        return answer(found)

    async def _introspect(self, request: Request) -> Response:
        """RFC 7662, for clients that have a secret, about tokens of their tenant."""
        self._throttled(request, "introspect", MAX_INTROSPECTIONS_PER_MINUTE)
        asked = await form(request)
        client = await client_of(self, request, asked)
        if not client.confidential:
            raise OAuthRequestError("unauthorized_client", "Only a client with a secret may ask about tokens.", 403)
        token = asked.need("token")
        grants, now = self.issuer.grants, self.clock()
        grant = await self.ask(grants.of_refresh_token, token, now)
        if grant is not None and grant.client == client.id and await self.ask(grants.usable, grant, now):
            about = {"client_id": grant.client, "sub": grant.subject, "scope": " ".join(grant.scopes), "iss": self.url}
            return answer({"active": True, "token_type": "refresh_token", **about})
        claims = await self._claims(token)
        if claims is None or claims["tenant"] != client.tenant:
            return answer({"active": False})
        kept = ("iss", "sub", "aud", "client_id", "iat", "exp", "jti", "scope", "roles", "tenant")
        found = {name: claims[name] for name in kept if name in claims}
        return answer({"active": True, "token_type": "Bearer", **found})

    async def _revoke(self, request: Request) -> Response:
        """RFC 7009: what is not the client's own, or not known, is answered like the rest."""
        self._throttled(request, "revoke", MAX_INTROSPECTIONS_PER_MINUTE)
        asked = await form(request)
        client = await client_of(self, request, asked)
        token, now = asked.need("token"), self.clock()
        grant = await self.ask(self.issuer.grants.of_refresh_token, token, now, even_used=True)
        claims = None if grant is not None else await self._claims(token)
        if grant is not None and grant.client == client.id:
            await self.ask(self.issuer.grants.end, grant.id, now)
            detail = {"grant": grant.id}
            await self.record("grant revoked", client, detail, subject=grant.subject, tenant=grant.tenant)
        elif claims is not None and claims["client_id"] == client.id:
            await self.ask(self.issuer.grants.revoke_access_token, claims["jti"], claims["exp"] * 1_000_000)
            detail = {"jti": claims["jti"]}
            await self.record("token revoked", client, detail, subject=claims["sub"], tenant=claims["tenant"])
        self._access.forget()
        return answer({})

    async def _register(self, request: Request) -> Response:
        """RFC 7591, for clients that act for people only."""
        self._throttled(request, "register", MAX_REGISTRATIONS_PER_MINUTE)
        asked = object_of(await body(request))
        way = asked.get("token_endpoint_auth_method", "client_secret_basic")
        if way not in ("none", "client_secret_basic", "client_secret_post"):
            raise OAuthRequestError("invalid_client_metadata", "That token_endpoint_auth_method is not supported.")
        grants = asked.get("grant_types", ["authorization_code"])
        if not isinstance(grants, list) or not {"authorization_code"} <= set(map(str, grants)) <= _FOR_PEOPLE:
            raise OAuthRequestError(
                "invalid_client_metadata", "A client that registers itself uses authorization_code."
            )
        uris = asked.get("redirect_uris")
        if not isinstance(uris, list) or not uris:
            raise OAuthRequestError("invalid_redirect_uri", "redirect_uris are missing.")
        try:
            client, secret = await self.ask(
                self.issuer.clients.add, str(asked.get("client_name") or "Unnamed client"),
                tenant=self._settings.tenant, now_us=self.clock(), kind="registered",
                confidential=way != "none", redirect_uris=uris, refreshes="refresh_token" in grants,
            )  # fmt: skip
        except MisuseError as e:
            raise OAuthRequestError("invalid_redirect_uri", str(e.args[0])) from e
        await self.record("client registered", client, {"redirect_uris": list(client.redirect_uris)})
        found = {
            "client_id": client.id, "client_id_issued_at": client.created_us // 1_000_000, "client_name": client.name,
            "redirect_uris": list(client.redirect_uris), "grant_types": grants, "response_types": ["code"],
            "token_endpoint_auth_method": way,
        }  # fmt: skip
        return answer(found | ({"client_secret": secret, "client_secret_expires_at": 0} if secret else {}), 201)

    async def _claims(self, token: str) -> JSON | None:
        """The claims of an access token of ours that holds now."""
        try:
            claims = await self.issuer.claims(token)
        except UnauthenticatedError:
            return None
        good = claims.get("iss") == self.url and claims["exp"] * 1_000_000 > self.clock()
        return claims if good and await self.issuer.live(claims) else None


_FOR_PEOPLE = {"authorization_code", "refresh_token"}
