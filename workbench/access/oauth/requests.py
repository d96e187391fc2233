"""Requests to the authorization server and answers to them: parameters, errors, and which client is asking."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_plus

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from workbench.access.peer_certificates import SCHEME
from workbench.events import JSON

if TYPE_CHECKING:
    from workbench.access.oauth.authorization_server import AuthorizationServer
    from workbench.access.oauth.clients import RegisteredClient

MAX_BODY_BYTES = 64 << 10
BODY_TIMEOUT_S = 10.0
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuthRequestError(Exception):
    """An error of OAuth (RFC 6749 §5.2 and those that extend it)."""

    def __init__(
        self, error: str, description: str, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(description)
        self.error = error
        self.status = status
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The error as JSON."""
        body = {"error": self.error, "error_description": str(self)}
        return answer(body, self.status, self.headers)


class RequestParameters:
    """The parameters of a request; only `resource` may stand more than once (RFC 6749 §3.1, RFC 8707 §2)."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.resources = tuple(dict.fromkeys(value for name, value in pairs if name == "resource" and value))
        self._values: dict[str, str] = {}
        for name, value in pairs:
            if name == "resource":
                continue
            if name in self._values:
                raise OAuthRequestError("invalid_request", f"The parameter {name[:40]} stands twice.")
            if value:
                self._values[name] = value

    def get(self, name: str) -> str:
        """The value, or an empty text."""
        return self._values.get(name, "")

    def need(self, name: str) -> str:
        """The value. Raises Refused when it is not there."""
        if name not in self._values:
            raise OAuthRequestError("invalid_request", f"The parameter {name} is missing.")
        return self._values[name]


async def form(request: Request) -> RequestParameters:
    """The parameters in the body of a POST."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise OAuthRequestError("invalid_request", "The content type has to be application/x-www-form-urlencoded.")
    return parameters(await body(request))


def parameters(encoded: bytes) -> RequestParameters:
    """Parameters as a form or a query encodes them."""
    try:
        pairs = parse_qsl(
            encoded.decode("utf-8"), keep_blank_values=True, max_num_fields=100, errors="strict", strict_parsing=False
        )
    except ValueError as e:
        raise OAuthRequestError("invalid_request", "The parameters cannot be read.") from e
    return RequestParameters(pairs)


async def body(request: Request) -> bytes:
    """The whole body, within bounds: whoever sends it proves who they are in it."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise OAuthRequestError("invalid_request", "The body is too large.", 413)
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                found += chunk
                if len(found) > MAX_BODY_BYTES:
                    raise OAuthRequestError("invalid_request", "The body is too large.", 413)
    except TimeoutError as e:
        raise OAuthRequestError("invalid_request", "The body did not arrive in time.", 408) from e
    except ClientDisconnect as e:
        raise OAuthRequestError("invalid_request", "The body broke off.") from e
    return bytes(found)


def answer(value: JSON, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that nobody keeps."""
    return Response(orjson.dumps(value), status, {**NO_STORE, **(headers or {})}, "application/json")


async def client_of(server: AuthorizationServer, request: Request, asked: RequestParameters) -> RegisteredClient:
    """The client that a request to token, introspection or revocation endpoint comes from (RFC 6749 §2.3).

    Raises:
        ApprovalRefusedError: unknown, ended, or with a wrong secret or in two ways at once.
    """
    id, secret = asked.get("client_id"), asked.get("client_secret")
    header = request.headers.get("authorization")
    if header is not None and header.startswith(SCHEME):
        peer = server.peer(header)
        if peer and not secret and not asked.get("client_assertion") and id in ("", peer):
            return await _known_workload(server, peer)
        header = None  # it authenticates in another way than by its connection
    if asked.get("client_assertion"):
        return await _workload(server, asked, twice=bool(header or secret))
    if header is not None:
        if secret:
            raise OAuthRequestError("invalid_request", "The client authenticates in two ways.")
        named, secret = _basic(header)
        if id not in ("", named):
            raise OAuthRequestError("invalid_request", "The client gives two ids.")
        id = named
    client = await server.client(id) if id else None
    proven = client is not None and (
        await server.ask(server.issuer.clients.has_secret, client.id, secret) if client.confidential else not secret
    )
    if client is None or not proven:
        raise OAuthRequestError("invalid_client", "The client is unknown or its secret is wrong.", 401, _ASK)
    return client


async def _workload(server: AuthorizationServer, asked: RequestParameters, *, twice: bool) -> RegisteredClient:
    """The client that an assertion proves (RFC 7521 §4.2)."""
    if twice:
        raise OAuthRequestError("invalid_request", "The client authenticates in two ways.")
    if server.workloads is None:
        raise OAuthRequestError("invalid_client", "Assertions are not accepted here.", 401)
    id = await server.workloads.identify(asked.need("client_assertion_type"), asked.get("client_assertion"))
    if asked.get("client_id") not in ("", id):
        raise OAuthRequestError("invalid_client", "No client is made for this workload.", 401)
    return await _known_workload(server, id)


async def _known_workload(server: AuthorizationServer, id: str) -> RegisteredClient:
    """The client that is made for a SPIFFE ID."""
    client = await server.ask(server.issuer.clients.find, id)
    if client is None or client.kind != "workload":
        raise OAuthRequestError("invalid_client", "No client is made for this workload.", 401)
    return client


_ASK = {"WWW-Authenticate": 'Basic realm="workbench"'}


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError
        decoded = base64.b64decode(encoded, validate=True).decode("utf-8")
    except (ValueError, binascii.Error) as e:
        raise OAuthRequestError(
            "invalid_client", "The Authorization header is not of the Basic scheme.", 401, _ASK
        ) from e
    id, _, secret = decoded.partition(":")
    return unquote_plus(id), unquote_plus(secret)


def object_of(data: bytes) -> dict[str, Any]:
    """The JSON object in a body."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as e:
        raise OAuthRequestError("invalid_client_metadata", "The body is no JSON.") from e
    if not isinstance(found, dict):
        raise OAuthRequestError("invalid_client_metadata", "The body is no JSON object.")
    return found
