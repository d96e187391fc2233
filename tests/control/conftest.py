"""A wire to the Postgres of the tests that can be cut, hung and mended, and gateways' ways to the store over it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic_ns
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from workbench.config import Settings, prepare_home
from workbench.control import ControlStore, open_store

TABLES = """
create table if not exists things (id text primary key, n integer not null, data blob, note text) strict;
"""


class Wire:
    """A TCP port that leads to a Unix socket, as a network leads to a database."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._flowing = threading.Event()
        self._flowing.set()
        self._open = True
        self._ends: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Every connection ends, and no new one is taken."""
        self._open = False
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends.clear()

    def hang(self) -> None:
        """Connections stay open, and nothing arrives any more."""
        self._flowing.clear()

    def mend(self) -> None:
        self._open = True
        self._flowing.set()

    def close(self) -> None:
        self.cut()
        self._flowing.set()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listening.accept()
            except OSError:
                return
            if not self._open:
                ours.close()
                continue
            theirs = socket.socket(socket.AF_UNIX)
            theirs.connect(self._target)
            self._ends += [ours, theirs]
            for one, other in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                self._flowing.wait()
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def wire(postgres: str) -> Iterator[Wire]:
    (folder,) = parse_qs(urlsplit(postgres).query)["host"]
    made = Wire(f"{folder}/.s.PGSQL.5432")
    yield made
    made.close()


Gateways = Callable[..., Settings]


@pytest.fixture
def gateways(tmp_path: Path, wire: Wire) -> Gateways:
    """`gateways("a")` are the settings of a gateway with a state folder of its own, over the wire."""
    schema = f"t{monotonic_ns()}"

    def made(name: str, **more: Any) -> Settings:
        given = {"database_url": f"postgresql://postgres@127.0.0.1:{wire.port}/postgres", "database_schema": schema}
        loaded = Settings.load(env={}, cwd=tmp_path, home=tmp_path / name, port="8800", **{**given, **more})
        prepare_home(loaded.home)
        return loaded

    return made


Open = Callable[[Settings], ControlStore]


@pytest.fixture
def opened() -> Iterator[Open]:
    """`opened(settings)` is a store that is closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_one(settings: Settings) -> ControlStore:
            store = open_store(settings)
            stack.callback(store.close)
            return store

        yield open_one
