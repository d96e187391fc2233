"""An identity provider on this machine that checks what it is shown, and servers that check what it issued.

It knows one client, `gateway`, by a secret or by a key, and gives tokens by client credentials and by exchange.
"""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any
from urllib.parse import unquote_plus

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Provider:
    """`asked` are the forms that came, in their order; what it does can be changed while it runs."""

    def __init__(self) -> None:
        self.url = ""
        self.key = ECKey.generate_key("P-256", {"kid": "provider"}, private=True)
        self.secret = "first-secret-of-the-gateway"
        self.client_keys: dict[str, Any] | None = None
        self.lifetime: Any = 300
        self.kind = "Bearer"
        self.denied: set[str] = set()
        self.down = False
        self.gate: asyncio.Event | None = None
        self.asked: list[dict[str, str]] = []
        self.issued: list[str] = []

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/oauth-authorization-server", self.describe),
                Route("/token", self.token, methods=["POST"]),
            ]
        )

    async def describe(self, request: Request) -> Response:
        if self.down:
            return Response(status_code=500)
        return JSONResponse({"issuer": self.url, "token_endpoint": f"{self.url}/token"})

    async def token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        self.asked.append(form)
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            return Response(status_code=500)
        if not self._is_gateway(request, form):
            said = "client_secret was " + request.headers.get("authorization", "")
            return JSONResponse({"error": "invalid_client", "error_description": said}, 401)
        subject = "gateway"
        if form["grant_type"] == EXCHANGE:
            assert form["subject_token_type"] == "urn:ietf:params:oauth:token-type:jwt"
            claims = self._claims(form["subject_token"])
            subject = f"{claims['tenant']}/{claims['sub']}"
            if subject in self.denied:
                return JSONResponse({"error": "invalid_grant"}, 400)
        claims = {
            "iss": self.url, "sub": subject, "aud": form["resource"], "scope": form.get("scope", ""),
            "exp": int(time.time()) + 300, "jti": str(len(self.asked)),
        }  # fmt: skip
        value = jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": "provider"}, claims, self.key)
        self.issued.append(value)
        answer = {"access_token": value, "token_type": self.kind, "expires_in": self.lifetime}
        return JSONResponse({name: value for name, value in answer.items() if value is not None})

    def _is_gateway(self, request: Request, form: dict[str, str]) -> bool:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            id, _, secret = base64.b64decode(encoded).decode().partition(":")
            return (unquote_plus(id), unquote_plus(secret)) == ("gateway", self.secret)
        if form.get("client_assertion_type") != JWT_BEARER or self.client_keys is None:
            return False
        claims = self._claims(form["client_assertion"])
        return claims["iss"] == claims["sub"] == form["client_id"] == "gateway"

    def _claims(self, token: str) -> dict[str, Any]:
        """Of something that the gateway signed just now for us."""
        assert self.client_keys is not None
        keys = KeySet.import_key_set(self.client_keys)
        claims = jwt.decode(token, keys, algorithms=["ES256", "RS256", "Ed25519"]).claims
        assert claims["aud"] == self.url
        assert claims["iss"] == "gateway"
        assert time.time() - 5 < claims["exp"] - 60 < time.time() + 5
        return dict(claims)


class Guarded:
    """A server that takes only tokens of one provider that are for itself; `seen` are the subjects that came."""

    def __init__(self, app: Any, provider: Provider, resource: str) -> None:
        self.app, self.provider, self.resource = app, provider, resource
        self.seen: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.revoked: set[str] = set()
        self.refused = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.headers.append(headers)
        subject = self._subject(headers.get("authorization", "").removeprefix("Bearer "))
        if subject is None:
            self.refused += 1
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        self.seen.append(subject)
        await self.app(scope, receive, send)

    def _subject(self, token: str) -> str | None:
        try:
            claims = jwt.decode(token, self.provider.key, algorithms=["ES256"]).claims
        except Exception:  # noqa: BLE001 - whatever it is, it is no token
            return None
        good = claims["aud"] == self.resource and token not in self.revoked and claims["exp"] > time.time()
        return str(claims["sub"]) if good else None
