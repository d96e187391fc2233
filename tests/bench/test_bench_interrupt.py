"""Whoever interrupts the start of a workbench gets all of it undone, at once and without complaints."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench
from workbench.audit import AuditLog
from workbench.registry import Registry


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Python's own answer to Ctrl-C: a shell starts background jobs with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_start_stops_what_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undone: list[str] = []
    stop, close = Registry.stop, AuditLog.close
    main = threading.main_thread()

    async def start(self: Registry, *args: object, **more: object) -> None:
        signal.pthread_kill(main.ident or 0, signal.SIGINT)
        await asyncio.Event().wait()  # it would go on for ever

    async def stopped(self: Registry) -> None:
        await asyncio.sleep(0)  # a cancelled task could not wait here
        await stop(self)
        undone.append("registry")

    async def closed(self: AuditLog) -> None:
        await close(self)
        undone.append("audit")

    monkeypatch.setattr(Registry, "start", start)
    monkeypatch.setattr(Registry, "stop", stopped)
    monkeypatch.setattr(AuditLog, "close", closed)
    with pytest.raises(KeyboardInterrupt):
        workbench.open(home=tmp_path / "home", servers=(), attach=False)
    assert undone == ["registry", "audit"]
