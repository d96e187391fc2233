"""Load runs: Locust as a child process against a running platform, its figures put on the record."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from workbench.events import JSON, MissingPackageError, MisuseError, WorkbenchError, new_id, now_us
from workbench.platform.app_process import shipped
from workbench.platform.run_file import RunningPlatform

if TYPE_CHECKING:
    from workbench.config import Settings

BATCH_SIZE = 2000
"""Requests per message to the platform."""
RATE = 1_000_000_000
"""Calls per minute of a load run's key: the run shows what the gateway carries, not where a client's limit stands."""


@contextlib.contextmanager
def load_token(settings: Settings, seconds: float) -> Iterator[str]:
    """A token for one load run on this machine's platform: subject `load`, a rate of its own, revoked at the end."""
    from workbench.access import Access
    from workbench.access.roles import OWNER

    access = Access(settings)
    try:
        key, token = access.create_key(
            "load", roles=(OWNER,), note="a load run", rate_per_minute=RATE,
            expires_us=now_us() + int((seconds + 600) * 1e6),
        )  # fmt: skip
        try:
            yield token
        finally:
            access.revoke(key.id)
    finally:
        access.close()


def run_load(
    running: RunningPlatform, token: str, *, users: int, spawn_rate: float, seconds: float, profile: str = "smoke"
) -> tuple[JSON, list[JSON]]:
    """Drive the platform with `users` concurrent clients and wait for the end.

    Args:
        running: the platform to call.
        token: as whom; `load_token` makes one.
        users: concurrent clients, each one call after another.
        spawn_rate: clients started per second.
        seconds: length of the run.
        profile: a profile of `loadtests/profiles.toml`: which tools, with which arguments.

    Returns:
        The summary (requests, failures, requests per second, p50, p95, p99 in microseconds) and every request.

    Raises:
        MisuseError: no such profile, or a number that is not above zero; nothing was started then.
        MissingPackageError: Locust is not installed.
        WorkbenchError: it made no request.
    """
    import importlib.util

    _check(profile, users=users, spawn_rate=spawn_rate, seconds=seconds)

    if importlib.util.find_spec("locust") is None:
        raise MissingPackageError("locust", "load")
    with tempfile.TemporaryDirectory(prefix="workbench-load-") as folder:
        out = Path(folder) / "requests.jsonl"
        began_us = now_us()
        finished = subprocess.run(
            [
                sys.executable, "-m", "locust", "-f", str(shipped("loadtests") / "locustfile.py"), "--headless",
                "--users", str(users), "--spawn-rate", str(spawn_rate), "--run-time", f"{seconds:g}s", "--only-summary",
                "--exit-code-on-error", "0",
            ],
            env={
                **os.environ,
                "WORKBENCH_URL": running.url, "WORKBENCH_TOKEN": token,
                "WORKBENCH_PROFILE": profile, "WORKBENCH_LOAD_OUT": str(out),
            },
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        requests = [orjson.loads(line) for line in out.read_bytes().splitlines()] if out.exists() else []
    if finished.returncode != 0 or not requests:
        raise WorkbenchError("The load run made no request.", hint=finished.stderr.strip()[-800:])
    summary = {"id": new_id(), "profile": profile, "users": users, "seconds": seconds, "started_us": began_us}
    return {**summary, **summarise(requests)}, [{**r, "run": summary["id"]} for r in requests]


def profiles() -> list[str]:
    """The profiles that ship, by name."""
    return list(tomllib.loads((shipped("loadtests") / "profiles.toml").read_text(encoding="utf-8")))


def _check(profile: str, **numbers: float) -> None:
    for name, number in numbers.items():
        if not 0 < number < float("inf"):
            raise MisuseError(
                f"A load run with {name}={number:g} cannot be meant.", hint="Expected a number above zero."
            )
    if profile not in (known := profiles()):
        raise MisuseError(f"There is no load profile {profile!r}.", hint=f"Expected {', '.join(known)}.")


def summarise(requests: Sequence[JSON]) -> JSON:
    """Counts, rate and percentiles (nearest rank) of load requests; latencies in microseconds, of successes only.

    A percentile over failures would flatter: a refused connection answers fast.
    """
    good = sorted(r["latency_us"] for r in requests if r["ok"])
    first = min(r["timestamp"] for r in requests)
    last = max(r["timestamp"] + r["latency_us"] for r in requests)
    return {
        "requests": len(requests),
        "failures": len(requests) - len(good),
        "requests_per_second": round(len(requests) / max((last - first) / 1e6, 1e-6), 1),
        **{f"p{p}_us": good[min(len(good) - 1, len(good) * p // 100)] if good else None for p in (50, 95, 99)},
    }


def batches(requests: Sequence[JSON]) -> Iterator[list[JSON]]:
    """Requests in portions that fit one message."""
    for start in range(0, len(requests), BATCH_SIZE):
        yield list(requests[start : start + BATCH_SIZE])


def check_load(run: JSON, requests: Sequence[JSON]) -> None:
    """Refuse what is no load run.

    Raises:
        MisuseError: a field is missing.
    """
    missing = [k for k in ("id", "requests", "failures") if k not in run]
    if missing or any("latency_us" not in r or "ok" not in r for r in requests):
        raise MisuseError(
            f"The load run lacks {', '.join(missing) or 'latency_us or ok in a request'}.",
            hint="Send what `workbench load` sends.",
        )
