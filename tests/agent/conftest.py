"""No test of this folder reaches a provider: sockets go to this machine only, and no key of the machine is seen."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.agent.wire_fake import WireFake
from workbench.events import Caller

_SECRETS = ("OPENAI", "ANTHROPIC", "GEMINI", "GOOGLE", "COMPATIBLE", "OLLAMA", "WORKBENCH")


class ReachedOut(AssertionError):
    """A test tried to leave this machine."""


def _is_loopback(host: Any) -> bool:
    text = host.decode() if isinstance(host, bytes) else str(host)
    if text in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def nothing_leaves_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_SECRETS) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    resolve, connect, connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex

    def checked(address: Any) -> None:
        if isinstance(address, tuple) and not _is_loopback(address[0]):
            raise ReachedOut(f"a test tried to connect to {address!r}")

    def guarded_resolve(host: Any, *rest: Any, **named: Any) -> Any:
        if host is not None and not _is_loopback(host):
            raise ReachedOut(f"a test tried to resolve {host!r}")
        return resolve(host, *rest, **named)

    def guarded_connect(self: socket.socket, address: Any) -> Any:
        checked(address)
        return connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> Any:
        checked(address)
        return connect_ex(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", guarded_resolve)
    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)


@pytest.fixture
def caller() -> Caller:
    return Caller(tenant="local", subject="ada", roles=("owner",), scopes=frozenset({"*"}))


@pytest.fixture
async def wire() -> AsyncIterator[WireFake]:
    """A strict provider of all four dialects. A rule that a client broke fails the test when it ends."""
    fake = WireFake()
    await fake.start()
    try:
        yield fake
    finally:
        await fake.close()
    assert fake.broken == []
