"""`workbench load`: Locust against the gateway."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from workbench.cli.context import SECONDS, as_json, local_settings, opened, print_json, program, progress
from workbench.events import UnreachableError

if TYPE_CHECKING:
    from workbench.config import Settings
    from workbench.platform.run_file import RunningPlatform

START_TIMEOUT_S = 60.0


@click.command()
@click.option("--users", "-u", type=click.IntRange(1, 10_000), default=8, show_default=True, help="Concurrent clients.")
@click.option("--spawn-rate", "-r", type=SECONDS, default=8.0, show_default=True, help="Clients started per second.")
@click.option("--seconds", "-t", type=SECONDS, default=10.0, show_default=True, help="Length of the run.")
@click.option("--profile", default="smoke", show_default=True, help="A profile of loadtests/profiles.toml.")
@as_json
@click.pass_context
def load(ctx: click.Context, users: int, spawn_rate: float, seconds: float, profile: str, as_json: bool) -> None:
    """Run Locust against the gateway; the figures land in load_runs and load_requests.

    Uses the platform that runs, or starts one for the time of the run. Exit code 1 when a request failed.
    """
    from workbench.platform.load_run import load_token, run_load

    settings = local_settings("A load run")
    with _platform(settings) as running:
        progress(f"{users} users for {seconds:g} s against {running.url} …")
        with load_token(settings, seconds) as token:
            summary, requests = run_load(
                running, token, users=users, spawn_rate=spawn_rate, seconds=seconds, profile=profile
            )
        with opened(attach=True) as wb:
            wb.record_load(summary, requests)
    if as_json:
        print_json(summary)
    else:
        _print(summary)
    ctx.exit(1 if summary["failures"] else 0)


def _print(summary: dict[str, object]) -> None:
    from workbench.show import milliseconds

    p50, p95, p99 = (milliseconds(v) if isinstance(v := summary[f"p{p}_us"], int) else "-" for p in (50, 95, 99))
    click.echo(
        f"{summary['requests']} requests, {summary['failures']} failed, {summary['requests_per_second']} per second\n"
        f"p50 {p50}, p95 {p95}, p99 {p99} (successful requests, as the client saw them)"
    )
    click.echo(
        f'\n{program()} sql "select name, count(*), median(latency_us) from load_requests group by name"', err=True
    )


@contextlib.contextmanager
def _platform(settings: Settings) -> Iterator[RunningPlatform]:
    """The platform that runs on this state folder, or one that runs as long as the block."""
    from workbench.platform.run_file import find_running

    running = find_running(settings.home)
    if running is not None:
        yield running
        return
    progress("No platform runs: starting one for this load run …")
    child = subprocess.Popen(
        [sys.executable, "-m", "workbench", "up", "--port", "auto", "--no-app"],
        env={**os.environ, "WORKBENCH_HOME": str(settings.home)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while (running := find_running(settings.home)) is None:
            if child.poll() is not None or time.monotonic() > deadline:
                raise UnreachableError("The platform did not start.", hint="Try `workbench up` to see why.")
            time.sleep(0.1)
        yield running
    finally:
        child.terminate()
        child.wait()
