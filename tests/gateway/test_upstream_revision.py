"""Finding out what a server speaks: each way in which it may answer the first question."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from workbench.events import JSON, UnreachableError
from workbench.registry.connection import RpcError
from workbench.upstream.negotiation import LEGACY, MODERN, NotMcpError, negotiate

MODERN_ANSWER: JSON = {"supportedVersions": [MODERN], "capabilities": {"tools": {}}, "serverInfo": {"name": "s"}}
OLD_ANSWER: JSON = {"protocolVersion": LEGACY[1], "capabilities": None, "serverInfo": "odd", "instructions": 7}
UNSUPPORTED = RpcError(-32022, "no", {"supported": [MODERN]})


def says(*answers: JSON | Exception) -> Callable[[], Awaitable[JSON]]:
    """Answers one after the other; the last one again and again."""
    waiting = list(answers)

    async def ask() -> JSON:
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


@pytest.mark.parametrize(
    ("discover", "initialize", "era"),
    [
        ([MODERN_ANSWER], [OLD_ANSWER], MODERN),
        ([{"supportedVersions": ["2025-11-25"]}], [OLD_ANSWER], LEGACY[1]),
        ([{"tools": []}], [OLD_ANSWER], LEGACY[1]),
        ([RpcError(-32601, "unknown")], [OLD_ANSWER], LEGACY[1]),
        ([RpcError(-32022, "no", {"supported": ["2025-11-25"]})], [OLD_ANSWER], LEGACY[1]),
        ([RpcError(-32022, "no", "odd")], [OLD_ANSWER], LEGACY[1]),
        ([RpcError(-32021, "needs roots")], [OLD_ANSWER], MODERN),
        ([NotMcpError("HTTP 400", 400)], [OLD_ANSWER], LEGACY[1]),
        ([TimeoutError()], [OLD_ANSWER], LEGACY[1]),
        ([TimeoutError(), RpcError(-32601, "unknown")], [OLD_ANSWER], LEGACY[1]),
        ([TimeoutError(), MODERN_ANSWER], [OLD_ANSWER], MODERN),
        ([NotMcpError("HTTP 503", 503), MODERN_ANSWER], [OLD_ANSWER], MODERN),
        ([NotMcpError("HTTP 429", 429), MODERN_ANSWER], [OLD_ANSWER], MODERN),
        ([NotMcpError("HTTP 400", 400), MODERN_ANSWER], [OLD_ANSWER], LEGACY[1]),
        ([TimeoutError(), MODERN_ANSWER], [UNSUPPORTED], MODERN),
    ],
)
async def test_whatever_is_no_modern_answer_leads_to_the_handshake(
    discover: list[Any], initialize: list[Any], era: str
) -> None:
    peer = await negotiate("s", says(*discover), says(*initialize))
    assert peer.revision == era
    assert isinstance(peer.capabilities, dict)
    assert isinstance(peer.info, dict)
    assert isinstance(peer.instructions, str)


@pytest.mark.parametrize(
    ("named", "era"),
    [
        ("2024-10-07", LEGACY[-1]),
        ("1.0", LEGACY[0]),
        ("DRAFT-2026-v1", LEGACY[0]),
        ("2027-01-01", LEGACY[0]),
        ("2025-05-01", "2025-03-26"),
        (None, LEGACY[0]),
        (20250618, LEGACY[0]),
        ({"version": 1}, LEGACY[0]),
    ],
)
async def test_a_revision_that_nobody_knows_is_spoken_as_the_nearest(named: Any, era: str) -> None:
    peer = await negotiate("s", says(RpcError(-32601, "x")), says({"protocolVersion": named}))
    assert peer.revision == era
    assert peer.named == str(named)


@pytest.mark.parametrize(
    ("discover", "initialize", "words"),
    [
        (RpcError(-32022, "no", {"supported": ["2031-01-01"]}), OLD_ANSWER, "speaks only 2031-01-01"),
        (NotMcpError("refused our credentials", 401), OLD_ANSWER, "credentials"),
        (RpcError(-32601, "x"), RpcError(-32600, "nope"), "refused the handshake: nope"),
        (RpcError(-32601, "x"), TimeoutError(), "in time"),
        ({"tools": []}, UNSUPPORTED, "refused the handshake"),
    ],
)
async def test_a_server_that_cannot_be_spoken_with_is_said_to_be_one(
    discover: Any, initialize: Any, words: str
) -> None:
    with pytest.raises(UnreachableError, match=words):
        await negotiate("s", says(discover), says(initialize))


@pytest.mark.parametrize(
    ("discover", "why"),
    [(TimeoutError(), "no answer in time"), (NotMcpError("HTTP 500", 500), "HTTP 500"), (RpcError(-32601, "x"), "")],
)
async def test_a_revision_that_was_guessed_is_said_to_be(discover: Exception, why: str) -> None:
    peer = await negotiate("s", says(discover), says(OLD_ANSWER))
    assert peer.unasked == why
    assert any(why in notice and LEGACY[1] in notice for notice in peer.notices) == bool(why)


@pytest.mark.parametrize("discover", [TimeoutError(), NotMcpError("HTTP 503", 503)])
async def test_a_server_that_is_known_to_be_modern_is_never_taken_for_an_older_one(discover: Exception) -> None:
    with pytest.raises(UnreachableError, match="did not answer `server/discover`"):
        await negotiate("s", says(discover), says(OLD_ANSWER), is_modern=True)
