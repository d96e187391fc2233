"""What the upstream transports share: protocol revisions, request metadata, and finding out what a server speaks."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from workbench.events import JSON, UnreachableError
from workbench.registry.connection import RpcError
from workbench.version import __version__

MODERN: Final = "2026-07-28"
"""Newest revision: no handshake, every request describes itself."""

LEGACY: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Revisions that begin with `initialize`, newest first."""

META: Final = "io.modelcontextprotocol/"
VERSION_KEY: Final = META + "protocolVersion"
INFO_KEY: Final = META + "clientInfo"
CAPABILITIES_KEY: Final = META + "clientCapabilities"

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_MODERN_KEYS: Final = frozenset({VERSION_KEY, INFO_KEY, CAPABILITIES_KEY, META + "logLevel"})

_OF_ANY_REQUEST: Final = frozenset({408, 425, 429})
"""Statuses below 500 that say nothing of the request: too slow, too early, too many."""

METHOD_NOT_FOUND: Final = -32601
HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022

CLIENT_INFO: Final[JSON] = {"name": "mcp-workbench", "version": __version__}


class IncompleteAnswerError(UnreachableError):
    """Some of an answer arrived and then no more: the server has seen the request, so it must not be sent again."""

    error_kind = "Answered"


class NotMcpError(IncompleteAnswerError):
    """The server answered, but not in MCP."""

    def __init__(self, message: str, status: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_s = 0
        """Seconds after which the server wants to be asked again; 0 when it does not say."""


@dataclass(frozen=True)
class PeerInfo:
    """What a server said of itself when it was opened."""

    revision: str
    info: JSON = field(default_factory=dict)
    capabilities: JSON = field(default_factory=dict)
    instructions: str = ""
    named: str = ""
    """The revision that it named, where that is none of ours."""
    unasked: str = ""
    """Why it is not known which revisions it speaks, although it was asked twice."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What is odd about the server and is put up with."""
        found = []
        if self.named:
            found.append(f"It names the protocol revision {self.named!r}, and is spoken with as of {self.revision}.")
        if self.unasked:
            found.append(
                f"It did not tell which protocol revisions it speaks ({self.unasked}), and answered the handshake of "
                f"older ones: it is spoken with as of {self.revision}. A restart asks again."
            )
        return tuple(found)

    @cached_property
    def modern(self) -> bool:
        return self.revision == MODERN

    def announces(self, what: str) -> bool:
        """Whether the server tells when its list of `what` (tools, prompts, resources) changes."""
        offer = self.capabilities.get(what)
        return isinstance(offer, dict) and offer.get("listChanged") is True

    @property
    def speaks_up(self) -> bool:
        """Whether the server says anything by itself."""
        resources = self.capabilities.get("resources")
        watchable = isinstance(resources, dict) and resources.get("subscribe") is True and not self.modern
        return watchable or any(self.announces(kind) for kind in ("tools", "prompts", "resources"))


def modern_meta(meta: JSON | None) -> JSON:
    """`_meta` of a request at 2026-07-28 (basic/index, "_meta").

    A client's own `clientInfo` and `clientCapabilities` in `meta` win: the server must see what the caller can do, and
    not what this gateway could.
    """
    return {INFO_KEY: CLIENT_INFO, CAPABILITIES_KEY: {}, **(meta or {}), VERSION_KEY: MODERN}


def legacy_meta(meta: JSON | None) -> JSON:
    """`_meta` for an older server: the same without the keys that exist only at 2026-07-28."""
    return {key: value for key, value in (meta or {}).items() if key not in _MODERN_KEYS}


def initialize_params(capabilities: JSON | None = None, revision: str = LEGACY[0]) -> JSON:
    """`params` of the handshake. Where none are given no capabilities are declared: nobody would answer."""
    return {"protocolVersion": revision, "capabilities": capabilities or {}, "clientInfo": CLIENT_INFO}


async def negotiate(
    name: str,
    discover: Callable[[], Awaitable[JSON]] | None,
    initialize: Callable[[], Awaitable[JSON]],
    *,
    is_modern: bool = False,
) -> PeerInfo:
    """Ask in the modern way first; whatever is no modern answer leads to the handshake (basic/versioning).

    Silence, and a refusal that would meet any request, say nothing of the revision: a server that is loading or has too
    much to do gives them, too. Such a server is asked again once it has answered the handshake.

    Args:
        name: how to call the server in messages.
        discover: sends `server/discover` at 2026-07-28; None when the server is known to be older.
        initialize: sends `initialize`; the caller sends `notifications/initialized` afterwards.
        is_modern: whether the server is known to speak 2026-07-28, so that one without an answer is no older one.

    Raises:
        UnreachableError: nothing answers, the server refuses our credentials, or no revision is shared.
    """
    unasked = ""
    if discover is not None:
        found, unasked = await _asked(name, discover)
        if found is not None:
            return found
        if unasked and is_modern:
            raise UnreachableError(f"Server {name!r} did not answer `server/discover`: {unasked}.")
    try:
        older = _legacy_peer(await initialize())
    except RpcError as e:
        if discover is not None and e.code == UNSUPPORTED_VERSION and MODERN in _supported(e.data):
            # The probe was late rather than unknown: the server has settled on the modern era meanwhile.
            found, _ = await _asked(name, discover)
            if found is not None:
                return found
        raise UnreachableError(
            f"Server {name!r} refused the handshake: {e} (code {e.code}).",
            hint=f"Expected an MCP server of revision {MODERN} or {LEGACY[-1]} to {LEGACY[0]}.",
        ) from e
    except TimeoutError as e:
        raise UnreachableError(f"Server {name!r} did not answer the handshake in time.") from e
    if discover is not None and unasked:
        found, unasked = await _asked(name, discover)
        if found is not None:
            return found
    return replace(older, unasked=unasked)


async def _asked(name: str, discover: Callable[[], Awaitable[JSON]]) -> tuple[PeerInfo | None, str]:
    """The server as a modern one, None when it is none; and why there was no answer, empty when there was one."""
    try:
        return _modern_peer(await discover()), ""
    except RpcError as e:
        return _modern_by_error(name, e), ""
    except NotMcpError as e:
        if e.status in (401, 403, 407):
            raise
        return None, f"HTTP {e.status}" if e.status in _OF_ANY_REQUEST or e.status >= 500 else ""
    except TimeoutError:
        return None, "no answer in time"


def _modern_peer(result: JSON) -> PeerInfo | None:
    versions = result.get("supportedVersions")
    if not isinstance(versions, list) or MODERN not in versions:
        return None
    meta = result.get("_meta")
    info = meta.get(META + "serverInfo") if isinstance(meta, dict) else None
    return _peer(MODERN, info or result.get("serverInfo"), result)


def _modern_by_error(name: str, error: RpcError) -> PeerInfo | None:
    if error.code == UNSUPPORTED_VERSION:
        supported = _supported(error.data)
        if supported and not any(v in LEGACY for v in supported):
            raise UnreachableError(
                f"Server {name!r} speaks only {', '.join(map(str, supported))}.",
                hint=f"This gateway speaks {MODERN} and {LEGACY[-1]} to {LEGACY[0]}.",
            )
        return None
    if error.code in (HEADER_MISMATCH, MISSING_CAPABILITY):
        return PeerInfo(MODERN, capabilities={"tools": {}})
    return None


def _legacy_peer(result: JSON) -> PeerInfo:
    """The server that answered the handshake with `result`.

    A revision that is not ours is no reason to refuse it: what is used of the protocol is the same in all revisions
    with a handshake. It is treated as of the newest of ours that is not newer than its own.
    """
    named = result.get("protocolVersion")
    if named in LEGACY:
        return _peer(str(named), result.get("serverInfo"), result)
    date = named if isinstance(named, str) and _DATE.fullmatch(named) else LEGACY[0]
    nearest = next((ours for ours in LEGACY if ours <= date), LEGACY[-1])
    return _peer(nearest, result.get("serverInfo"), result, named=str(named)[:100])


def _peer(revision: str, info: Any, result: JSON, named: str = "") -> PeerInfo:
    capabilities, instructions = result.get("capabilities"), result.get("instructions")
    return PeerInfo(
        revision=revision,
        info=info if isinstance(info, dict) else {},
        capabilities=capabilities if isinstance(capabilities, dict) else {},
        instructions=instructions if isinstance(instructions, str) else "",
        named=named,
    )


def _supported(data: Any) -> list[Any]:
    supported = data.get("supported") if isinstance(data, dict) else None
    return supported if isinstance(supported, list) else []
