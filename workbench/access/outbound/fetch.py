"""Fetching documents of OAuth: bounded, timed, without redirects, and never from our own network by accident."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from workbench.address_guard import check_url
from workbench.events import JSON, MisuseError, UnreachableError
from workbench.version import __version__

MAX_DOCUMENT_BYTES = 256 << 10
"""Bytes of metadata, keys or an answer that are read."""
TIMEOUT_S = 5.0
"""Seconds for one exchange, connecting included."""


_ERROR = re.compile(r"[a-z_]{1,60}")


class ErrorStatusError(UnreachableError):
    """It answers, with another status than 200.

    Args:
        status: of HTTP.
        error: the code of OAuth (RFC 6749 §5.2), where there is one; nothing else of the answer is kept.
    """

    error_kind = "ErrorAnswer"

    def __init__(self, url: str, status: int, error: str) -> None:
        self.status, self.error = status, error
        super().__init__(f"{url} answers with status {status}{f' ({error})' if error else ''}.")


class JsonFetcher:
    """Gets JSON from issuers and clients.

    A URL is dialled when its origin was named in the settings, or when it is https and leads to public addresses only,
    judged again at every dial.

    Args:
        trusted: URLs whose origins may be anywhere, because whoever runs this workbench named them.
        tls: another trust store than the system's.
    """

    def __init__(self, trusted: Collection[str] = (), *, tls: ssl.SSLContext | None = None) -> None:
        self._trusted = frozenset(origin(url) for url in trusted)
        self._tls = tls

    async def get(self, url: str, *, most: int = MAX_DOCUMENT_BYTES) -> JSON:
        """The JSON object at `url`.

        Raises:
            UnreachableError: it must not be dialled, does not answer in time, or answers with something else.
        """
        return await self._exchange("GET", url, most)

    async def post(self, url: str, form: Mapping[str, str], *, basic: tuple[str, str] | None = None) -> JSON:
        """The JSON object with which `url` answers a form.

        Args:
            basic: client id and secret (RFC 6749 §2.3.1).

        Raises:
            UnreachableError: as for `get`.
        """
        return await self._exchange("POST", url, MAX_DOCUMENT_BYTES, form, basic)

    async def _exchange(
        self,
        method: str,
        url: str,
        most: int,
        form: Mapping[str, str] | None = None,
        basic: tuple[str, str] | None = None,
    ) -> JSON:
        import aiohttp

        from workbench.guarded_resolver import GuardedResolver

        trusted = origin(url) in self._trusted
        if not trusted:
            _check(url)
        connector = aiohttp.TCPConnector(
            resolver=None if trusted else GuardedResolver(local_allowed=False),
            use_dns_cache=False,
            ssl=self._tls if self._tls is not None else True,
        )
        headers = {"Accept": "application/json", "User-Agent": f"mcp-workbench/{__version__}"}
        if basic is not None:
            headers["Authorization"] = aiohttp.encode_basic_auth(*basic)
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                aiohttp.ClientSession(
                    connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
                ) as session,
                session.request(
                    method, url, data=form, headers={**headers, "Accept-Encoding": "identity"}, allow_redirects=False
                ) as response,
            ):
                body = await _read(response.content, most)
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as e:
            raise UnreachableError(f"{url} does not answer: {str(e) or type(e).__name__}.") from e
        if status != 200:
            raise ErrorStatusError(url, status, _error(body))
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as e:
            raise UnreachableError(f"{url} answers with something that is no JSON.") from e
        if not isinstance(document, dict):
            raise UnreachableError(f"{url} answers with JSON that is no object.")
        return document


def _error(body: bytes) -> str:
    with contextlib.suppress(orjson.JSONDecodeError):
        found = orjson.loads(body)
        if isinstance(found, dict) and isinstance(code := found.get("error"), str) and _ERROR.fullmatch(code):
            return code
    return ""


async def _read(content: Any, most: int) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > most:
            raise OSError(f"more than {most:,} bytes")
    return bytes(body)


def origin(url: str) -> str:
    """Scheme, host and port of a URL; empty when it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname and "@" not in parts.netloc else ""


def _check(url: str) -> None:
    try:
        endpoint = check_url(url)
    except MisuseError as e:
        raise UnreachableError(f"{url[:200]!r} must not be dialled.", hint="It leads into our own network.") from e
    if endpoint.scheme != "https":
        raise UnreachableError(f"{url[:200]!r} must not be dialled.", hint="Expected https.")
