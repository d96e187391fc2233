"""The clients of the benchmarks count what they see, and the bare server speaks to both eras and over stdio."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from loadtests import bench, clients, peers
from loadtests.bench_gateway import Client, Target, process, report, row


@pytest.fixture
def bare() -> Iterator[int]:
    with process("-m", "loadtests.bare", "server") as server:
        assert server.stdout is not None
        yield int(server.stdout.readline())


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("rate", [0.0, 200.0])
def test_answers_are_counted_and_timed(bare: int, legacy: bool, rate: float) -> None:
    request = Client(Target(bare, (), "add", {"a": 1, "b": 2}, legacy=legacy)).request
    found = clients.run(bare, [request], count=5, seconds=0.5, rate=rate)
    assert found.errors == 0
    assert found.calls > 5
    assert 0 < found.p50_ms <= found.p99_ms <= found.longest_ms * 2
    if rate:
        assert found.calls <= rate * 0.5 + 5


@pytest.mark.slow
def test_what_is_no_result_is_an_error(bare: int) -> None:
    request = Client(Target(bare, (), "add", {"a": 1})).request.replace(b"tools/call", b"tools/kill")
    found = clients.run(bare, [request], count=2, seconds=0.3)
    assert found.calls == 0
    assert found.errors > 0
    assert "-32601" in found.first_error


@pytest.mark.slow
def test_the_bare_server_speaks_over_stdio() -> None:
    def asked(id: int, method: str, **params: Any) -> str:
        return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params})

    lines = [
        asked(1, "initialize", protocolVersion="2025-11-25"),
        json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        asked(2, "tools/call", name="add", arguments={"a": 1, "b": 2}),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.bare", "stdio"],
        cwd=clients.ROOT, input="\n".join(lines) + "\n", text=True, capture_output=True, check=True,
    )  # fmt: skip
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["result"]["protocolVersion"] == "2025-11-25"
    assert second["result"]["structuredContent"] == {"total": 3}


def test_a_peer_that_is_not_there_says_how_it_gets_there(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = peers.fastmcp()._replace(installed=lambda: False)
    with pytest.raises(peers.Unavailable, match="--install"):
        peers.available(peer, install=False)


def test_a_row_without_a_figure_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {"name": "other: not available: why", "value": None, "unit": "", "target": "", "ok": None}
    report([nothing, row("ours", 20, "times", 15, at_least=True), row("p50", 3, "ms", 2)], None)
    bench.show([{"benchmark": "peers", **nothing}])
    told = capsys.readouterr().out
    assert "not available: why" in told
    assert "≥ 15     yes" in told
    assert "≤ 2      NO" in told
