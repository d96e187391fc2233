"""The authorization endpoint: what a client asks of a person, and what they answer (RFC 6749 §4.1, RFC 7636)."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from workbench.access.oauth import redirect_uris
from workbench.access.oauth.consent import (
    COOKIE,
    PENDING_LIFETIME_S,
    AuthorizationRequest,
    PendingAuthorizations,
    consent_page,
    error_page,
)
from workbench.access.oauth.requests import OAuthRequestError, RequestParameters, form, parameters
from workbench.access.roles import narrowed
from workbench.events import Caller, UnauthenticatedError

if TYPE_CHECKING:
    from workbench.access.oauth.authorization_server import AuthorizationServer
    from workbench.access.oauth.clients import RegisteredClient

MAX_REQUESTS_PER_MINUTE = 60
MAX_WRONG_KEYS_PER_MINUTE = 10
_OVER = "This request is not waiting any more. Start again from the program that sent you here."
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_BROWSER = re.compile(r"[A-Za-z0-9_-]{43}")


class AuthorizationEndpoint:
    """Shows the page, and turns what was decided into a code.

    Args:
        server: whose endpoint this is.
    """

    def __init__(self, server: AuthorizationServer) -> None:
        self._server = server
        self._pending = PendingAuthorizations(server.issuer.grants.store, server.clock)

    async def ask(self, request: Request) -> Response:
        """GET: check the request and show the page. Who it is for cannot be told before the URI they gave is known."""
        if self._server.throttle.wait(self._server.address(request), "authorize", MAX_REQUESTS_PER_MINUTE):
            return error_page("Too many requests. Wait a minute, then try again.", 429)
        try:
            asked = parameters(request.scope.get("query_string", b""))
            client = await self._server.client(asked.get("client_id"))
            uri = _redirect_uri(client, asked)
        except OAuthRequestError as e:
            return error_page(str(e), e.status)
        assert client is not None
        try:
            wanted = self._read(client, uri, asked)
        except OAuthRequestError as e:
            if client.kind != "made":
                # Anybody can be such a client: nobody is sent on to it without having been asked (RFC 9700 §4.11.2).
                return error_page(f"{client.name}: {e}")
            return self._send(uri, asked.get("state"), error=e.error, error_description=str(e), status=302)
        browser = request.cookies.get(COOKIE, "")
        if not _BROWSER.fullmatch(browser):
            browser = secrets.token_urlsafe(32)
        response = consent_page(wanted, await self._server.ask(self._pending.add, wanted, browser))
        response.set_cookie(
            COOKIE, browser, max_age=int(PENDING_LIFETIME_S), path="/oauth", httponly=True, samesite="strict",
            secure=self._server.url.startswith("https:"),
        )  # fmt: skip
        return response

    async def decide(self, request: Request) -> Response:
        """POST: the person's answer. It counts with a valid key, from our own page, in the browser that showed it."""
        origin = request.headers.get("origin")
        if origin is not None and origin.lower() not in self._server.resources.origins:
            return error_page("The form was sent by another page.", 403)
        try:
            given = await form(request)
        except OAuthRequestError as e:
            return error_page(str(e), e.status)
        id = given.get("request")
        asked = await self._server.ask(self._pending.find, id, request.cookies.get(COOKIE, ""))
        if asked is None:
            return error_page(_OVER)
        if given.get("decision") != "approve":
            if not await self._server.ask(self._pending.take, id):
                return error_page(_OVER)
            await self._server.record("consent denied", asked.client, {})
            return self._send(asked.redirect_uri, asked.state, error="access_denied")
        if self._server.throttle.wait(self._server.address(request), "consent", MAX_WRONG_KEYS_PER_MINUTE):
            return consent_page(asked, id, wrong="Too many tries. Wait a minute.", status=429)
        try:
            person = await self._server.person(given.get("key"))
        except UnauthenticatedError:
            await self._server.wrong_key(request, given.get("key"))
            if not await self._server.ask(self._pending.wrong_key, id):
                return error_page("Too many wrong keys. Start again from the program that sent you here.", 403)
            return consent_page(asked, id, wrong="That is no valid key of this workbench.", status=403)
        scopes = narrowed(person.scopes, [scope for scope in asked.scopes if given.get(f"scope:{scope}")]) - {"*"}
        if not scopes:
            return consent_page(asked, id, wrong="You have none of what is chosen here.", status=403)
        if not await self._server.ask(self._pending.take, id):
            return error_page(_OVER)
        return await self._grant(asked, person, tuple(sorted(scopes)))

    async def _grant(self, asked: AuthorizationRequest, person: Caller, scopes: tuple[str, ...]) -> Response:
        detail = {"scopes": scopes, "resources": asked.resources, "credential": person.credential}
        await self._server.record("consent given", asked.client, detail, subject=person.subject, tenant=person.tenant)
        _, code = await self._server.ask(
            self._server.issuer.grants.add,
            client=asked.client.id,
            tenant=person.tenant,
            subject=person.subject,
            roles=person.roles,
            scopes=scopes,
            resources=asked.resources,
            key_id=person.credential,
            redirect_uri=asked.redirect_uri if asked.given_redirect else "",
            challenge=asked.challenge,
            now_us=self._server.clock(),
        )
        return self._send(asked.redirect_uri, asked.state, code=code)

    def _read(self, client: RegisteredClient, uri: str, asked: RequestParameters) -> AuthorizationRequest:
        """The rest of the request; what is wrong with it may be told to the client."""
        if asked.need("response_type") != "code":
            raise OAuthRequestError("unsupported_response_type", "The response type has to be code.")
        if asked.get("response_mode") not in ("", "query"):
            raise OAuthRequestError("invalid_request", "The response mode has to be query.")
        if asked.get("request") or asked.get("request_uri"):
            raise OAuthRequestError("request_not_supported", "Request objects are not supported.")
        if asked.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(asked.get("code_challenge")):
            raise OAuthRequestError("invalid_request", "A code_challenge by the method S256 is needed.")
        if len(asked.get("state")) > 2048:
            raise OAuthRequestError("invalid_request", "The state is too long.")
        scopes = self._server.scopes(asked.get("scope"))
        return AuthorizationRequest(
            client=client,
            redirect_uri=uri,
            given_redirect=bool(asked.get("redirect_uri")),
            state=asked.get("state"),
            challenge=asked.get("code_challenge"),
            scopes=scopes or self._server.scopes_supported(),
            resources=self._server.targets(asked.resources),
        )

    def _send(self, uri: str, state: str, *, status: int = 303, **found: str) -> Response:
        """Send the browser back, saying who answers (RFC 9207)."""
        target = redirect_uris.answer(uri, {**found, "state": state, "iss": self._server.url})
        headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        return RedirectResponse(target, status, headers)


def _redirect_uri(client: RegisteredClient | None, asked: RequestParameters) -> str:
    """Where the answer goes, once it is certain that the client registered it."""
    if client is None:
        raise OAuthRequestError("invalid_client", "The client is not known here.")
    uri = asked.get("redirect_uri")
    if not uri and len(client.redirect_uris) == 1:
        return client.redirect_uris[0]
    if not redirect_uris.registered(uri, client.redirect_uris):
        raise OAuthRequestError("invalid_request", "The redirect URI is not one that the client registered.")
    return uri
