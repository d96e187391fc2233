"""A small issuer on this machine, whose keys and answers the tests decide."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workbench.access import Access
from workbench.config import Settings

RESOURCE = "http://127.0.0.1:8800/mcp"


class StartedServer(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@asynccontextmanager
async def served(app: Any, bound: socket.socket | None = None, **tls: Any) -> AsyncIterator[str]:
    """`app` behind a real server on a port of this machine, on the running loop; the value is its origin."""
    listening = bound or socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_level="error", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1, **tls
    )
    server = StartedServer(config)
    task = asyncio.create_task(server._serve([listening]))
    try:
        async with asyncio.timeout(10):
            await server.listening.wait()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listening.close()


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
