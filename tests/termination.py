"""A pytest plugin: SIGTERM ends a run as Ctrl-C does, so that fixtures stop the servers that they have started."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import pytest


def _end(number: int, frame: FrameType | None) -> None:
    pytest.exit("ended by SIGTERM", returncode=128 + number)


def pytest_runtest_setup() -> None:
    """Before each test anew: an event loop that handled the signal leaves the default behind, which ends at once."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)
