"""What every test shares: one event-loop backend, a state folder of its own, and a control store of either kind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns

import pytest

from tests.postgres import server
from tests.second_tries import pytest_sessionfinish, pytest_terminal_summary  # noqa: F401 - hooks of pytest
from tests.termination import pytest_runtest_setup  # noqa: F401 - likewise
from workbench.config import Settings, prepare_home
from workbench.policy.redaction import recognizers

pytest_plugins = ["workbench.testing.fixtures"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def unchanged_process() -> Iterator[None]:
    """Refuses a test that lowers the priority of this process or leaves a signal handler behind: later ones suffer."""

    def state() -> tuple[object, ...]:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        return os.getpriority(os.PRIO_PROCESS, 0), *handlers

    before = state()
    yield
    assert state() == before, "the test changed the priority or the signal handlers of the process of all tests"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Loads Presidio before all tests, where no test's time runs: one that ran out would be every later test's error.

    Not while they run: pytest swaps the filters of warnings, and a thread would import it.
    """
    if not session.config.option.collectonly:
        found = recognizers.shared()
        found.warm().join()
        assert found.ready, found.problem


@pytest.fixture(scope="session")
def presidio() -> None:
    """For tests that need it to be there."""
    assert recognizers.shared().ready


@pytest.fixture
def settings(tmp_path: Path, store: dict[str, str]) -> Settings:
    """Settings with a fresh state folder; nothing of the machine's environment leaks in."""
    loaded = Settings.load(env={}, cwd=tmp_path, home=tmp_path / "home", port="auto", app_port="auto", **store)
    prepare_home(loaded.home)
    return loaded


# --- the control store: tests marked `stores("sqlite", "postgres")` run once over each ---------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--servers-tried", metavar="FILE", help="write what came of the real servers to this page")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """For `-n auto`: three workers on two cores, since a third of the time of quick tests is waiting for others."""
    if config.option.numprocesses != "auto":
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + cores // 2


MEMORY = Path("/dev/shm")
NEEDED_BYTES = 4 << 30
"""Folders of all tests take up some 0.5 GiB; the rest is a margin for workers."""


def pytest_configure(config: pytest.Config) -> None:
    # Records are synced, and a busy disk takes its time: folders of tests are in memory where there is enough.
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > NEEDED_BYTES:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)  # also for the processes that tests launch
    config.addinivalue_line("markers", "stores(*kinds): over which control stores a test runs; SQLite unless marked")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marked = metafunc.definition.get_closest_marker("stores")
    if marked is not None and "store" in metafunc.fixturenames:
        metafunc.parametrize("store", marked.args, indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of the control store: none for SQLite, or a schema of its own in a real Postgres."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return {}
    return {"database_url": request.getfixturevalue("postgres"), "database_schema": f"t{monotonic_ns()}"}


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real Postgres that ends with the tests."""
    psycopg = pytest.importorskip("psycopg")
    with server() as url:
        with psycopg.connect(url, autocommit=True) as db:
            db.execute("alter system set fsync = off")
            db.execute("select pg_reload_conf()")
        yield url
