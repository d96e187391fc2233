"""How other processes find the platform, and how a port that is taken is explained."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from workbench.events import MisuseError
from workbench.platform.ports import free, listen
from workbench.platform.run_file import RunningPlatform, announce, find_running, process_started, withdraw


def running(pid: int | None = None, started: float | None = None) -> RunningPlatform:
    own = process_started(os.getpid())
    assert own is not None
    return RunningPlatform(url="http://127.0.0.1:1", pid=pid or os.getpid(), started=started or own, token="mk_secret")


def test_an_announced_platform_is_found(tmp_path: Path) -> None:
    announce(tmp_path, running())
    found = find_running(tmp_path)
    assert found == running()
    assert found is not None
    assert found.mcp_url == "http://127.0.0.1:1/mcp"


def test_the_token_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    announce(tmp_path, running())
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o600


def test_a_platform_whose_process_is_gone_is_removed(tmp_path: Path) -> None:
    announce(tmp_path, running(pid=2**22 + 1))
    assert find_running(tmp_path) is None
    assert not (tmp_path / "run.json").exists()


def test_a_reused_process_number_is_not_taken_for_the_platform(tmp_path: Path) -> None:
    announce(tmp_path, running(started=1.0))
    assert find_running(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"url": 5}', b"\xff\xfe"])
def test_a_damaged_announcement_is_removed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    assert find_running(tmp_path) is None
    assert not (tmp_path / "run.json").exists()


def test_withdrawing_leaves_the_announcement_of_another(tmp_path: Path) -> None:
    announce(tmp_path, running(pid=1, started=process_started(1)))
    withdraw(tmp_path)
    assert (tmp_path / "run.json").exists()
    announce(tmp_path, running())
    withdraw(tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_a_port_that_is_taken_names_the_process_that_holds_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(MisuseError, match=rf"Port {port} for the gateway is in use by .*process {os.getpid()}"):
            listen("127.0.0.1", str(port), "gateway")


def test_auto_finds_a_free_port() -> None:
    port = free("127.0.0.1", "auto", "app")
    with listen("127.0.0.1", str(port), "app") as bound:
        assert bound.getsockname()[1] == port


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(MisuseError, match="cannot be used for the gateway"):
        listen("192.0.2.1", "auto", "gateway")
