"""Whatever is killed in the middle of calls: the platform recovers or refuses clearly, and no answered call is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from tests.platforms import start, stop, up, wait
from workbench.access.app_sessions import AppSessions
from workbench.audit import Reader, verify
from workbench.platform.run_file import RunningPlatform, find_running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CALL = {"tool": "crm.search_customers", "arguments": {"query": "smith", "limit": 3}}
NO_RATE = {"WORKBENCH_RATE_PER_MINUTE": "1000000"}
"""Refusals of a server that is down are quick: on a fast machine four threads would reach the default rate."""


class Callers:
    """Threads that call without a pause; remembers every answer that was acknowledged."""

    def __init__(self, running: RunningPlatform, threads: int = 4) -> None:
        self.acknowledged: list[tuple[str, str]] = []
        self.refused = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._go, args=(running,)) for _ in range(threads)]

    def _go(self, running: RunningPlatform) -> None:
        headers = {"Authorization": f"Bearer {running.token}"}
        with httpx2.Client(base_url=running.url, headers=headers, timeout=30) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post("/api/platform/call", json=CALL).json()
                    self.acknowledged.append((answer["call"], answer["kind"]))
                except (httpx2.HTTPError, KeyError, ValueError):
                    self.refused += 1
                    self._stop.wait(0.05)

    def kinds(self) -> set[str]:
        return {kind for _, kind in self.acknowledged}

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        eventually(condition, seconds)

    @contextlib.contextmanager
    def calling(self) -> Iterator[Callers]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def recorded(home: Path) -> tuple[dict[str, str], Counter[str]]:
    """Outcome by id of every recorded call, and how many more calls of each outcome stand in rows for many alike."""
    reader = Reader(home)
    try:
        rows = reader.sql("select request_id, outcome, repeated from tool_calls").to_pylist()
    finally:
        reader.close()
    alike: Counter[str] = Counter()
    for row in rows:
        alike[row["outcome"]] += row["repeated"] - 1
    found = {row["request_id"]: row["outcome"] for row in rows}
    assert len(found) == len(rows), "a call is recorded twice"
    return found, alike


def assert_nothing_lost(home: Path, callers: Callers) -> None:
    known, alike = recorded(home)
    lost = Counter(kind for id, kind in callers.acknowledged if known.get(id) != kind)
    assert callers.acknowledged
    assert lost <= alike, f"of {len(callers.acknowledged)} acknowledged calls are not on the record: {lost - alike}"
    verification = verify(home)
    assert verification.ok, str(verification)


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_a_server_that_is_killed_comes_back_and_nothing_is_lost(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with up(home, "--servers", "crm", env=NO_RATE) as (running, _):
        headers = {"Authorization": f"Bearer {running.token}"}

        def crm() -> dict[str, object]:
            states = httpx2.get(running.url + "/servers", headers=headers).json()["servers"]
            return next(s for s in states if s["id"] == "crm")

        with Callers(running).calling() as callers:
            callers.until(lambda: len(callers.acknowledged) > 50)
            first = crm()
            os.kill(int(str(first["pid"])), signal.SIGKILL)
            callers.until(lambda: crm()["status"] == "ready" and crm()["pid"] != first["pid"])
            known = len(callers.acknowledged)
            callers.until(lambda: len([c for c in callers.acknowledged[known:] if c[1] == "ok"]) > 50)
        assert crm()["restarts"] == 1
        assert callers.kinds() <= {"ok", "unavailable", "failed", "timeout"}
    assert_nothing_lost(home, callers)  # now that those which were counted together are written, too
    events = Reader(home).sql("select event from registry_events where server = 'crm' order by ts").to_pylist()
    assert "down" in {e["event"] for e in events}


def test_a_platform_that_is_killed_leaves_no_child_and_its_successor_finds_every_answered_call(tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = start(home, ["--servers", "crm,tickets"], NO_RATE)
    running = wait(home, process)
    with Callers(running).calling() as callers:
        callers.until(lambda: len(callers.acknowledged) > 50)
        left = children(running.pid)
        process.kill()
        process.wait()
        callers.until(lambda: callers.refused > 0)
    psutil.wait_procs(left, timeout=10)
    assert not [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    with up(home, "--servers", "crm") as (again, _):
        assert again.pid != running.pid
        assert_nothing_lost(home, callers)


def test_an_app_that_is_killed_is_started_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with up(home, "--servers", "crm", "--app", "--app-port", "auto", env=NO_RATE) as (running, _):
        sessions = AppSessions(home)
        session = sessions.redeem(sessions.new_link())  # it outlives the process of the app
        cookie = {"Cookie": f"workbench_app_{urlsplit(running.app_url).port}={session}"}

        def healthy() -> bool:
            try:
                return httpx2.get(running.app_url + "/_stcore/health", headers=cookie).text == "ok"
            except httpx2.HTTPError:
                return False

        def app() -> psutil.Process | None:
            for process in children(running.pid):
                with contextlib.suppress(psutil.Error):  # it may end while we look
                    if "workbench.serve.app_server" in process.cmdline():
                        return process
            return None

        eventually(healthy)
        first = app()
        assert first is not None
        with Callers(running).calling() as callers:
            first.kill()
            callers.until(lambda: (found := app()) is not None and found.pid != first.pid and healthy())
        assert callers.kinds() == {"ok"}
        assert_nothing_lost(home, callers)


def test_ctrl_c_ends_everything_and_the_state_is_found_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = start(home, ["--servers", "crm,files"])
    running = wait(home, process)
    left = children(running.pid)
    assert len(left) >= 2
    with httpx2.Client(headers={"Authorization": f"Bearer {running.token}"}) as client:
        call = client.post(running.url + "/api/platform/call", json=CALL).json()["call"]
    assert stop(process) == 0
    assert not [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert find_running(home) is None
    with up(home, "--servers", "crm") as (again, _):
        assert again.token == running.token
        assert recorded(home)[0][call] == "ok"


def test_a_second_platform_on_the_same_state_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with up(home, "--servers", "crm") as (running, _):
        second = start(home)
        assert second.wait(30) == 2
    assert f"process {running.pid}" in (tmp_path / "up.log").read_text()


def test_a_log_that_cannot_be_written_refuses_calls_and_answers_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with up(home, "--servers", "crm", env={"WORKBENCH_AUDIT_MIN_FREE_BYTES": str(1 << 50)}) as (running, _):
        headers = {"Authorization": f"Bearer {running.token}"}
        answer = httpx2.post(running.url + "/api/platform/call", json=CALL, headers=headers)
        for _ in range(600):  # while what finds personal data is still loading, all texts are withheld
            if "<REDACTED>" not in answer.text:
                break
            time.sleep(0.1)
            answer = httpx2.post(running.url + "/api/platform/call", json=CALL, headers=headers)
        assert answer.status_code == 503
        assert answer.json()["error"]["kind"] == "NotRecorded"
        assert "disk" in answer.json()["error"]["message"].lower() + answer.json()["error"]["hint"].lower()
