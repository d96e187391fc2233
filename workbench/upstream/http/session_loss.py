"""How servers say that they do not know our session, and which revisions they would take instead of the one sent."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from workbench.events import UnreachableError
from workbench.registry.connection import RpcError
from workbench.upstream.negotiation import LEGACY

MAX_EXAMINED: Final = 400
"""Characters of an error's text that are looked at."""

_STATUSES: Final = frozenset({400, 401, 403, 404, 409, 410, 412, 419, 422, 428, 440})
"""With which a session is refused: the specification has 404 alone, SDKs and frameworks have these."""

_CODES: Final = frozenset({-32000, -32001, -32002, -32003, -32600})
"""Codes of a transport. With others it may be a tool that speaks of a session of its own."""

_NAMED: Final = re.compile(r"session|transport|\binitiali[sz]e", re.I)
_UNKNOWN: Final = re.compile(
    r"\bno (?:valid|active|such|matching|known|existing|transport|session)|not (?:be )?(?:found|valid|known|exist"
    r"|active|initiali[sz]ed|present|provided|recogni[sz]ed|established)|(?:does|did)(?:n't| not) exist|unknown"
    r"|invalid|expired|terminated|missing|required|requires|no longer|\bgone\b|(?:could|can|did)(?:n't| ?not) find"
    r"|unrecogni[sz]ed|stale|expect(?:ed|s)? |must (?:be|call|send|first)|without|first",
    re.I,
)
_NOT_INITIALIZED: Final = re.compile(r"(?:not (?:yet )?(?:been )?|un)initiali[sz]ed", re.I)

_WHOLE: Final = re.compile(
    r"(?:(?:bad request|not found|error|invalid request)[:,.] ?)?"
    r"(?:(?:invalid|unknown|missing|expired|no valid|no active|no such)(?: or (?:missing|invalid|expired|unknown))?"
    r" (?:mcp[- ])?session(?:[- ]?id)?(?: provided)?"
    r"|(?:mcp[- ])?session(?:[- ]?id)?(?: [\w.:-]{1,80})? (?:not found|not initiali[sz]ed|has expired|expired"
    r"|terminated|does not exist|is required|is missing|is unknown|is invalid|not found or (?:has )?expired)"
    r"|server not initiali[sz]ed|not initiali[sz]ed)[.!]?",
    re.I,
)

_REVISION_WORDS: Final = re.compile(r"protocol[-_ ]?version|unsupported (?:protocol|version)|supported versions", re.I)
_REVISION: Final = re.compile(r"\b20\d\d-[01]\d-[0-3]\d\b")


class SessionLostError(UnreachableError):
    """The server does not know our session, and so has not looked at the request."""

    error_kind = "SessionGone"


class RevisionRefusedError(UnreachableError):
    """The server refused the protocol revision of a request, and so has not looked at the rest.

    Args:
        message: what it said.
        supported: the best revision that it named and that is spoken here; empty when it named none.
    """

    def __init__(self, message: str, supported: str) -> None:
        super().__init__(message)
        self.supported = supported


def says_session_unknown(status: int, words: str) -> bool:
    """Whether an HTTP error says that our session is unknown."""
    words = words[:MAX_EXAMINED]
    if status not in _STATUSES:
        return False
    if _NOT_INITIALIZED.search(words):
        return True
    return _NAMED.search(words) is not None and _UNKNOWN.search(words) is not None


def is_session_error(error: RpcError) -> bool:
    """Whether a JSON-RPC error in a successful answer says so, in just these words: then no tool has said it."""
    return error.code in _CODES and _WHOLE.fullmatch(str(error.args[0]).strip()[:MAX_EXAMINED]) is not None


def says_revision_refused(words: str) -> bool:
    """Whether the text of an HTTP error is about the protocol revision."""
    return _REVISION_WORDS.search(words[:MAX_EXAMINED]) is not None


def shared_revision(words: str, data: Any, asked: str) -> str:
    """The newest revision with a handshake that an error names beside the one that was `asked`; empty when none.

    Args:
        words: the text of the error.
        data: its `data`; where it lists what is supported, the text is not looked at.
        asked: the revision of the request.
    """
    listed = (
        next((data[key] for key in ("supported", "supportedVersions", "versions") if key in data), None)
        if (isinstance(data, dict))
        else data
    )
    named = set(_REVISION.findall(json.dumps(listed, default=str)[:10_000]))
    named = named or set(_REVISION.findall(words[: 10 * MAX_EXAMINED]))
    return next((one for one in LEGACY if one in named and one != asked), "")
