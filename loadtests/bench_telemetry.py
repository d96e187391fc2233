"""What it costs to be watched: OpenTelemetry on and off, and a Prometheus that scrapes every second, in one run.

`python -m loadtests.bench_telemetry`. Three platforms get the same calls in turns: one exports nothing, one sends spans
and metrics to a collector that takes everything and keeps nothing, one is scraped. Measured is processor time of the
platform's process per call with 32 calls in flight; the differences are those of paired rounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import os
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadtests.bench_gateway import Figures, Target, measure, platform, process, report, row

OFF, EXPORTED, SCRAPED = "nothing exported", "OpenTelemetry", "scraped every second"


class Collector(http.server.ThreadingHTTPServer):
    """Takes spans and metrics over OTLP, and counts the bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        self.received = {"/v1/traces": 0, "/v1/metrics": 0}
        super().__init__(("127.0.0.1", 0), _Receiver)


class _Receiver(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.received[self.path] += len(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: it would be one line for every batch."""


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """One that listens until the block ends."""
    with Collector() as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Variables that children started within the block inherit."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]


def scrape(port: int, token: str) -> float:
    """Milliseconds of one scrape."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"})
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert b"workbench_calls_total" in answer.read()
    return (time.perf_counter() - began) * 1e3


@contextlib.contextmanager
def scraping(port: int, token: str) -> Iterator[list[float]]:
    """Scrapes every second until the block ends; how long each took."""
    done, times = threading.Event(), list[float]()

    def work() -> None:
        while not done.wait(1.0):
            times.append(scrape(port, token))

    thread = threading.Thread(target=work)
    thread.start()
    yield times
    done.set()
    thread.join()


def table(found: dict[str, Figures], scrapes: list[float], received: dict[str, int]) -> list[dict[str, Any]]:
    """Rows: what each costs, and what it adds."""

    def added(name: str) -> float:
        pairs = zip(found[name].each_cpu_ms, found[OFF].each_cpu_ms, strict=True)
        return statistics.median(one - other for one, other in pairs) * 1e3

    return [
        *(row(f"CPU per call, {name}", figures.cpu_ms * 1e3, "µs") for name, figures in found.items()),
        row("added by OpenTelemetry, median of paired rounds", added(EXPORTED), "µs"),
        row("added by a scrape every second, median of paired rounds", added(SCRAPED), "µs"),
        row("one scrape under load, median", statistics.median(scrapes), "ms"),
        row("exported", sum(received.values()) / 1e6, "MB"),
    ]


def main(json_path: str | None = None, *, seconds: float = 1.0) -> list[dict[str, Any]]:
    """Measure and print; rows also go to `json_path`."""
    with tempfile.TemporaryDirectory(prefix="workbench-telemetry-") as name, contextlib.ExitStack() as stack:
        server = stack.enter_context(process("-m", "loadtests.bare", "server"))
        servers = {"bare": f"http://127.0.0.1:{int(server.stdout.readline())}/mcp"}  # type: ignore[union-attr]
        taking = stack.enter_context(collector())
        exported = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{taking.server_address[1]}",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        }
        targets, tokens = {}, {}
        for place, kind in enumerate((OFF, EXPORTED, SCRAPED)):
            folder = Path(name) / str(place)
            folder.mkdir()
            with environment(**(exported if kind == EXPORTED else {})):
                port, pid, tokens[kind], _ = stack.enter_context(platform(folder / "home", servers))
            targets[kind] = Target(port, (pid,), "bare.add", {"a": 1, "b": 2}, tokens[kind])
        with scraping(targets[SCRAPED].port, tokens[SCRAPED]) as scrapes:
            found = asyncio.run(measure(targets, seconds))
        if not all(taking.received.values()):
            raise SystemExit(f"Nothing was exported: {json.dumps(taking.received)}")
        rows = table(found, scrapes, taking.received)
    return report(rows, json_path)


if __name__ == "__main__":
    main()
