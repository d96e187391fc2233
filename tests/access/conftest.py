"""A small issuer on this machine, whose keys and answers the tests decide."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import json
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.asgi import listening
from workbench.access import Access, UnauthenticatedError
from workbench.access.oauth import AuthorizationServer
from workbench.config import Settings

RESOURCE = "http://127.0.0.1:8800/mcp"
HOST = "http://127.0.0.1:8800"
MCP = f"{HOST}/mcp"
BACK = "http://127.0.0.1:5000/callback"


@asynccontextmanager
async def served(
    app: Any, bound: socket.socket | None = None, lifespan: bool = False, **tls: Any
) -> AsyncIterator[str]:
    """`app` behind a real server on a port of this machine, on the running loop; the value is its origin."""
    async with listening(app, bound=bound, lifespan="on" if lifespan else "off", **tls) as server:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.port}"


_RSA = RSAKey.generate_key(2048, {"kid": "rsa"}, private=True)


class Issuer:
    """Publishes metadata and keys, signs tokens, and answers introspection."""

    def __init__(self, path: str = "") -> None:
        self.url = ""
        self.path = path
        self.ec = ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"}, private=True)
        self.rsa = _RSA
        self.ed: Any = OKPKey.generate_key("Ed25519", {"kid": "ed"}, private=True)
        self.published: list[Any] = [self.ec, self.rsa, self.ed]
        self.metadata: dict[str, Any] = {}
        self.opaque: dict[str, dict[str, Any]] = {}
        self.fetches: list[str] = []
        self.asked: list[dict[str, str]] = []
        self.lifetime = 300
        self.down = False
        self.gate: asyncio.Event | None = None

    def app(self) -> Starlette:
        async def describe(request: Request) -> Response:
            self.fetches.append(request.url.path)
            if self.down:
                return Response(status_code=500)
            return JSONResponse({"issuer": self.url, "jwks_uri": f"{self.url}/jwks", **self.metadata})

        async def keys(request: Request) -> Response:
            self.fetches.append("jwks")
            if self.gate is not None:
                await self.gate.wait()
            if self.down:
                return Response(status_code=500)
            return JSONResponse({"keys": [key.as_dict(private=False) for key in self.published]})

        async def introspect(request: Request) -> Response:
            form = await request.form()
            self.asked.append({"token": str(form["token"]), "basic": request.headers.get("authorization", "")})
            if self.gate is not None:
                await self.gate.wait()
            return JSONResponse(self.opaque.get(str(form["token"]), {"active": False}))

        return Starlette(
            routes=[
                Route(f"/.well-known/oauth-authorization-server{self.path}", describe),
                Route(f"{self.path}/jwks", keys),
                Route("/introspect", introspect, methods=["POST"]),
            ]
        )

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Good claims with changes; None takes one away."""
        now = int(time.time())
        found = {
            "iss": self.url, "aud": RESOURCE, "sub": "alice", "client_id": "c1", "iat": now, "exp": now + self.lifetime,
            "jti": "t1", "scope": "crm:read", **changes,
        }  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}

    def token(self, *, key: Any = None, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """A good token, with other claims, another key or another header as given."""
        key = key or self.ec
        algorithm = {"EC": "ES256", "RSA": "RS256", "OKP": "Ed25519", "oct": "HS256"}[key.key_type]
        full = {"alg": algorithm, "typ": "at+jwt", "kid": key.kid, **(header or {})}
        full = {name: value for name, value in full.items() if value is not None}
        return jwt.encode(full, self.claims(**changes), key, algorithms=[full["alg"]], default_type=None)

    def unsigned(self, header: dict[str, Any], signature: str = "", **changes: Any) -> str:
        """A token put together by hand."""
        parts = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in
                 (header, self.claims(**changes))]  # fmt: skip
        return ".".join([*parts, signature])


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer()
    async with served(made.app()) as url:
        made.url = url
        yield made


class Ticks:
    """A clock that the test moves; also counts as the time of day, in microseconds."""

    def __init__(self) -> None:
        self.passed = 0.0
        self._began = time.time()

    def __call__(self) -> float:
        return self.passed

    def clock(self) -> int:
        return int((self._began + self.passed) * 1e6)


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


Opened = Callable[..., Access]


@pytest.fixture
async def open_access(settings: Settings, ticks: Ticks) -> AsyncIterator[Opened]:
    """`open_access(oauth_issuers=…)` is the room at port 8800 with these settings."""
    opened: list[Access] = []

    def make(**changes: Any) -> Access:
        changes = {"port": "8800", **changes}
        opened.append(Access(settings.replace(**changes), clock=ticks.clock, ticks=ticks))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


# --- our own authorization server, and a browser or client before it ------------------------------


@dataclass
class Desk:
    """The server, the room behind it, and a browser or client before it."""

    access: Access
    server: AuthorizationServer
    http: httpx2.AsyncClient
    key: str
    recorded: list[tuple[str, dict[str, Any], str, str]] = field(default_factory=list)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def client(self, **more: Any) -> tuple[Any, str]:
        given = {"confidential": False, "redirect_uris": (BACK,), **more}
        return self.server.issuer.clients.add("App", tenant="local", now_us=self.server.clock(), **given)

    async def ask(self, client: Any, **changes: Any) -> httpx2.Response:
        query = {
            "response_type": "code", "client_id": client.id, "redirect_uri": BACK, "state": "s1", "scope": "crm:read",
            "code_challenge": self.challenge, "code_challenge_method": "S256", "resource": MCP, **changes,
        }  # fmt: skip
        return await self.http.get("/oauth/authorize", params={k: v for k, v in query.items() if v is not None})

    async def decide(self, page: httpx2.Response, *, headers: Any = None, **changes: Any) -> httpx2.Response:
        found = re.search(r'name="request" value="([^"]+)"', page.text)
        assert found, page.text
        boxes = {html.unescape(name): "1" for name in re.findall(r'name="(scope:[^"]+)"', page.text)}
        form = {"request": found[1], "key": self.key, "decision": "approve", **boxes, **changes}
        form = {k: v for k, v in form.items() if v is not None}
        return await self.http.post("/oauth/authorize", data=form, headers={"origin": HOST, **(headers or {})})

    async def code(self, client: Any, **changes: Any) -> str:
        response = await self.decide(await self.ask(client, **changes))
        assert response.status_code == 303, response.text
        answer = parse_qs(urlsplit(response.headers["location"]).query)
        assert answer["iss"] == [HOST]
        return answer["code"][0]

    async def redeem(self, client: Any, code: str, **changes: Any) -> httpx2.Response:
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "client_id": client.id,
            "code_verifier": self.verifier, **changes,
        }  # fmt: skip
        return await self.http.post("/oauth/token", data={k: v for k, v in form.items() if v is not None})

    async def refresh(self, client: Any, token: str, **changes: Any) -> httpx2.Response:
        form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": client.id, **changes}
        return await self.http.post("/oauth/token", data=form)

    async def holds(self, token: str, view: str = "") -> bool:
        try:
            await self.access.authenticate_async(f"Bearer {token}", view)
        except UnauthenticatedError:
            return False
        return True

    async def own_token(self, client: Any, secret: str, **more: Any) -> httpx2.Response:
        form = {"grant_type": "client_credentials", **more}
        return await self.http.post("/oauth/token", data=form, auth=(client.id, secret))

    @staticmethod
    def error(response: httpx2.Response) -> str:
        return str(response.json()["error"])


async def make_desk(open_access: Any, ticks: Any, fetcher: Any = None, **settings: Any) -> Desk:
    access = open_access(oauth_server=True, **settings)
    recorded: list[tuple[str, dict[str, Any], str, str]] = []

    async def record(event: str, detail: dict[str, Any], tenant: str, subject: str) -> None:
        recorded.append((event, detail, tenant, subject))

    server = AuthorizationServer(
        access, scopes=lambda: ["crm:read", "tickets:read"], record=record, clock=ticks.clock, ticks=ticks,
        fetcher=fetcher,
    )  # fmt: skip
    transport = httpx2.ASGITransport(app=server)
    http = httpx2.AsyncClient(transport=transport, base_url=HOST, follow_redirects=False)
    key = access.create_key("ann", roles=("employee",))[1]
    return Desk(access, server, http, key, recorded)


@pytest.fixture
def open_desk(open_access: Opened, ticks: Ticks) -> Callable[..., Awaitable[Desk]]:
    """`await open_desk(oauth_registration=True)` is the authorization server with these settings."""

    async def opened(**settings: Any) -> Desk:
        return await make_desk(open_access, ticks, **settings)

    return opened


@pytest.fixture
async def desk(open_desk: Callable[..., Awaitable[Desk]]) -> Desk:
    return await open_desk()


@pytest.fixture
def serve() -> Callable[..., Any]:
    """`async with serve(app, bound) as origin:` is a real HTTP server."""
    return served
