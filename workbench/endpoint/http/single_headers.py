"""Headers that may stand once: of two copies, two programs between us and the caller read different ones.

RFC 9110 §5.3 lets a sender repeat only what is defined as a list. A doubled `Host` is refused by RFC 9112 §3.2, doubled
lengths by §6.3; the others decide who is calling, from where, or what is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

SINGLE: Final = frozenset(
    {
        b"host", b"origin", b"authorization", b"proxy-authorization", b"content-type", b"content-length",
        b"content-encoding", b"transfer-encoding", b"x-api-key", b"last-event-id",
        b"x-workbench-source", b"x-slack-signature", b"x-slack-request-timestamp", b"sec-fetch-site",
    }
)  # fmt: skip
"""Beside all that begin with `mcp-`."""


def is_single(name: bytes) -> bool:
    """Whether a header of this name, in lower case, may stand once only."""
    return name in SINGLE or name.startswith(b"mcp-")


def doubled(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The first name that stands twice though it may not; empty when there is none.

    Args:
        headers: of an ASGI scope.
    """
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in seen and is_single(name):
            return name.decode("latin-1")
        seen.add(name)
    return ""
