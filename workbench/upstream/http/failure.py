"""What an HTTP answer other than 2xx means: a lost session, another revision, a sign-in, a rate, a failure."""

from __future__ import annotations

import asyncio
import email.utils
import errno
import math
import re
import socket
import ssl
import time
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from workbench.events import JSON, UnreachableError
from workbench.registry.connection import RequestRefusedError, RpcError
from workbench.secrets import hide
from workbench.upstream.error_text import MAX_ERROR_BODY, clean, json_object, words_of
from workbench.upstream.http.body import as_utf8, media_type, read_start
from workbench.upstream.http.response import HttpResponse
from workbench.upstream.http.session_loss import (
    RevisionRefusedError,
    SessionLostError,
    says_revision_refused,
    says_session_unknown,
    shared_revision,
)
from workbench.upstream.jsonrpc_messages import rpc_error
from workbench.upstream.negotiation import METHOD_NOT_FOUND, MODERN, NotMcpError

ERROR_BODY_TIMEOUT_S: Final = 5.0
MAX_RETRY_AFTER_S: Final = 3600
MAX_DURATION_S: Final = 1e9
"""Beyond it a number is a time of Unix and no duration."""

WAKING: Final = frozenset({425, 502, 503, 504, 521, 522, 523, 524, 530})
"""Statuses of what stands before a server that is being started: gateways, and those of Cloudflare."""

_OF_ONE_REQUEST: Final = frozenset(range(400, 500)) - {401, 404, 405, 407, 408, 410, 421, 425}
"""Statuses that are about one request; the server itself is well."""

_OF_THE_REQUEST: Final = (METHOD_NOT_FOUND, -32602)
"""Codes that answer a request, so that its session is known whatever the status."""

_URL: Final = re.compile(r"https?://[^\s'\")\]]+")
_CHALLENGE: Final = re.compile(r"([A-Za-z_-]+)=\"?([^\",]{1,500})")


class RefusedRequestError(NotMcpError, RequestRefusedError):
    """An HTTP error that is about one request."""


async def failure(
    response: HttpResponse, server: str, *, id: int = 0, method: str = "", session: str = "", revision: str = ""
) -> Exception:
    """What to raise for an answer that is no success.

    Args:
        response: with a status outside of 2xx.
        server: how to call the server in messages.
        id: of the request.
        method: of the request.
        session: the session as part of which it was sent.
        revision: at which it was sent.
    """
    status, body = response.status, await _error_body(response, server)
    found = json_object(body)
    error = (
        _rpc_error(found) if status < 500 or "json" in media_type(response.headers.get("Content-Type", "")) else None
    )
    words = words_of(body)
    if method != "initialize" and revision != MODERN:
        ours = error is not None and found is not None and found.get("id") == id and error.code in _OF_THE_REQUEST
        if not ours and ((session and status in (404, 410)) or says_session_unknown(status, words)):
            told = words or "no text"
            return SessionLostError(f"Server {server!r} has forgotten our session (HTTP {status}: {told}).")
        if status == 400 and revision and says_revision_refused(words):
            chosen = shared_revision(words, error.data if error is not None else None, revision)
            told = f"Server {server!r} refused protocol revision {revision} (HTTP {status}: {words})."
            return RevisionRefusedError(told, chosen)
    if error is not None and status not in (401, 405, 407, 429):
        return error
    return _refused(response, server, status, words)


async def refusal(response: HttpResponse, server: str) -> NotMcpError:
    """What to raise for an answer that is no success, where no JSON-RPC is expected."""
    return _refused(response, server, response.status, words_of(await _error_body(response, server)))


async def _error_body(response: HttpResponse, server: str) -> bytes:
    """As much of the body as is needed to say what is wrong; nothing where it does not come or cannot be read."""
    try:
        async with asyncio.timeout(ERROR_BODY_TIMEOUT_S):
            body = await read_start(response, server, MAX_ERROR_BODY)
    except (NotMcpError, TimeoutError, aiohttp.ClientError, OSError):
        return b""
    return as_utf8(body, response.headers.get("Content-Type", "")).strip()


def _rpc_error(found: JSON | None) -> RpcError | None:
    """The JSON-RPC error in a body; other programs have an `error` as well, with nothing of JSON-RPC beside it."""
    error = found.get("error") if found is not None else None
    if not isinstance(error, dict) or found is None:
        return None
    code = error.get("code")
    jsonrpc = "jsonrpc" in found or (isinstance(code, int) and code < 0)
    return rpc_error(error) if jsonrpc else None


def unreachable(
    server: str, url: str, error: Exception, *, configured: bool = True, silent: str = ""
) -> UnreachableError:
    """What to raise when there was no answer at all: where it was looked for, why there was none, and what to do.

    Args:
        server: how to call the server in messages.
        url: where it was looked for; of it only the origin is told, because the rest may hold a secret.
        error: of the socket, of TLS or of the name service.
        configured: whether the address is one that somebody configured, and not one of a process launched here.
        silent: what is said of an error without words, as timeouts are.
    """
    cause = getattr(error, "os_error", None) or error
    at = _origin(url)
    why = getattr(cause, "strerror", None) or str(cause) or silent or type(cause).__name__
    if _is_refused(cause):
        why = "connection refused"
    elif isinstance(cause, ssl.SSLCertVerificationError):
        why = getattr(cause, "verify_message", "") or why  # ours, about a SPIFFE ID, have none
    why = _URL.sub(lambda found: _origin(found[0]), str(why)).rstrip(".")
    message = f"Server {server!r} cannot be reached at {at}: {why}."
    return UnreachableError(hide(message), hint=_remedy(error, cause) if configured else "")


def _origin(url: str) -> str:
    """Scheme, host and port of an address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "its address"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"


def _remedy(error: Exception, cause: BaseException) -> str:
    """What to do about a server that cannot be reached."""
    if isinstance(cause, socket.gaierror):
        return "No such host is known here: check the host in `url` of this server in its configuration."
    if isinstance(error, aiohttp.ClientSSLError) or isinstance(cause, ssl.SSLError):
        return (
            "Use the host that its certificate names, and name the authority that signed it as `tls.ca` of this server "
            "in its configuration."
        )
    if _is_refused(cause):
        return "Nothing listens there: start the server, or correct `url` of this server in its configuration."
    return "See whether it runs and can be reached from here, and whether `url` in its configuration is right."


def _is_refused(cause: BaseException) -> bool:
    """Whether nothing listens at the address; asyncio tells of several tries in words alone."""
    return getattr(cause, "errno", None) == errno.ECONNREFUSED or f"Errno {errno.ECONNREFUSED}]" in str(cause)


# --- in words


def _refused(response: HttpResponse, server: str, status: int, words: str) -> NotMcpError:
    said = f": {words.rstrip('.')}" if words else ""
    hint, retry_s = "", 0
    if status in (401, 407):
        what = f"Server {server!r} refused our credentials (HTTP {status}){said}."
        hint = _sign_in(response.headers.get("WWW-Authenticate", "") or response.headers.get("Proxy-Authenticate", ""))
    elif status == 403:
        what = f"Server {server!r} refused our credentials or this request (HTTP 403){said}."
        hint = _forbidden(response.headers.get("WWW-Authenticate", ""))
    elif status == 429:
        retry_s = retry_after(response)
        what = f"Server {server!r} takes no more requests for now (HTTP 429){said}."
        hint = f"Try again in {retry_s} s." if retry_s else "Try again later."
    elif 300 <= status < 400:
        what = f"Server {server!r} redirects to {clean(response.headers.get('Location', ''))!r} (HTTP {status})."
        hint = "Configure the final address."
    elif status in WAKING:
        retry_s = retry_after(response)
        what = f"Server {server!r} is not there at the moment (HTTP {status}){said}."
        hint = f"Try again in {retry_s} s." if retry_s else ""
    else:
        what = f"Server {server!r} answered HTTP {status}{said}." if said else _silent(server, status)
        hint = _HINTS.get(status, "")
    kind = RefusedRequestError if status in _OF_ONE_REQUEST else NotMcpError
    refused = kind(what, status, hint=hint)
    refused.retry_s = retry_s
    return refused


def _silent(server: str, status: int) -> str:
    return f"Server {server!r} answered HTTP {status} and no MCP message."


_HINTS: Final = {
    402: "It wants to be paid first.",
    404: "There is no MCP endpoint at this address; many servers have it at /mcp or /sse.",
    405: "Nothing at this address takes a POST; many servers have their MCP endpoint at /mcp or /sse.",
    410: "What was at this address is gone for good.",
    413: "The request is larger than it takes.",
}


def _sign_in(challenge: str) -> str:
    """Which sign-in a server wants, by its challenge (RFC 9110 §11.6.1, RFC 6750, RFC 9728)."""
    scheme = challenge.split(" ", 1)[0].strip(",").lower()
    values = {name.lower(): clean(value) for name, value in _CHALLENGE.findall(challenge)}
    if not scheme:
        return "Check the headers of this server in its configuration, or set its `auth`."
    if scheme != "bearer":
        return f"It wants the scheme {clean(challenge.split(' ', 1)[0])!r}; set it in the headers of this server."
    where = values.get("resource_metadata", "")
    wanted = f"It wants an OAuth sign-in, described at {where}" if where else "It wants a bearer token"
    scope = f", with the scope {values['scope']!r}" if values.get("scope") else ""
    why = f" ({values['error']})" if values.get("error") else ""
    return f"{wanted}{scope}{why}. Set `auth`, or a token in the headers, of this server in its configuration."


def _forbidden(challenge: str) -> str:
    values = {name.lower(): clean(value) for name, value in _CHALLENGE.findall(challenge)}
    if values.get("scope"):
        return f"The credential lacks the scope {values['scope']!r}."
    return "If it is about the credential, check the headers of this server in its configuration."


def retry_after(response: HttpResponse) -> int:
    """Seconds that the server asks to wait; 0 when it does not say.

    Read are `Retry-After` as a number or a date (RFC 9110 §10.2.3), and, as seconds or as a time of Unix, what limiters
    send in its place.
    """
    for name in ("Retry-After", "RateLimit-Reset", "X-RateLimit-Reset-After", "X-RateLimit-Reset"):
        header = str(response.headers.get(name, "")).strip()
        try:
            seconds = float(header)
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
            except (ValueError, TypeError, OverflowError):
                continue
        if seconds > MAX_DURATION_S:
            seconds -= time.time()
        if math.isfinite(seconds) and seconds > 0:
            return min(MAX_RETRY_AFTER_S, math.ceil(seconds))
    return 0
