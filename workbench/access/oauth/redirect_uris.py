"""Where an authorization response may be sent: exact matches only (RFC 9700 §4.1, RFC 8252 §7)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from urllib.parse import urlencode, urlsplit

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PLAIN = re.compile(r"[!-~]{1,2048}")
_PRIVATE_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")


def objection(uri: object) -> str:
    """Why a redirect URI cannot be registered; empty when it can."""
    if not isinstance(uri, str) or not _PLAIN.fullmatch(uri) or any(c in uri for c in "\\<>\"'`"):
        return "it is not a plain URI of at most 2048 characters"
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018 - raises when it is none
    except ValueError:
        return "it cannot be read"
    if "#" in uri:
        return "it has a fragment"
    if "@" in parts.netloc or "*" in parts.netloc:
        return "its host is not written plainly"
    if parts.scheme in ("http", "https"):
        if not parts.hostname:
            return "it has no host"
        return "" if parts.scheme == "https" or parts.hostname in LOOPBACK else "http is for this computer only"
    # A scheme of a program has the form of a reversed domain name; javascript: and data: have not.
    return "" if _PRIVATE_SCHEME.fullmatch(parts.scheme) and not parts.netloc else "its scheme is not allowed"


def registered(uri: str, among: Collection[str]) -> bool:
    """Whether `uri` is one of those that a client registered; on this computer the port may be another one."""
    if objection(uri):
        return False
    return uri in among or any(_but_for_port(uri) == _but_for_port(each) is not None for each in among)


def _but_for_port(uri: str) -> tuple[str, str, str] | None:
    parts = urlsplit(uri)
    if parts.scheme != "http" or parts.hostname not in LOOPBACK:
        return None
    return parts.hostname, parts.path, parts.query


def answer(uri: str, parameters: Mapping[str, str]) -> str:
    """`uri` with the parameters of an authorization response."""
    joint = "&" if urlsplit(uri).query else "?"
    return f"{uri}{joint}{urlencode({k: v for k, v in parameters.items() if v})}"


def source(uri: str) -> str:
    """What a page's `form-action` has to name so that a browser may follow the answer to `uri`."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"
