"""Wrong credentials at every door: 401, then 429, on the record without what was shown, and in the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.bench.test_doors_before_body import Sent
from tests.redis_server import RedisServer
from workbench.api import build_app
from workbench.audit import Reader, questions
from workbench.audit.format import records
from workbench.cluster.shared_byte_quota import SharedByteQuota
from workbench.config import Settings
from workbench.platform.platform import Platform

SHOWN = "mk_abcdefghijkl_SECRETSECRETSECRETSECRETSECRET"


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    settings = Settings.load(
        env={}, cwd=tmp_path, home=tmp_path / "home", servers=(), port="8800", app=False, oauth_server=True,
        audit_min_free_bytes=1, failed_credentials_per_minute=6, trusted_proxies=("127.0.0.1",),
    )  # fmt: skip
    opened = await Platform.open(settings)
    yield opened
    await opened.close()


def events(platform: Platform) -> list[dict[str, Any]]:
    files = sorted((platform.settings.home / "audit" / "wal").glob("*.jsonl"))
    lines = [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]
    return [line for line in lines if line["kind"] == "access_event" and line["outcome"] == "credential refused"]


async def written(platform: Platform) -> None:
    """Everything that was put before is on disk."""
    await platform.audit.repeats.close()
    await platform.audit.write("local", records.metric("x", 1.0, tenant="local"))


async def ask(app: Any, path: str, token: str, address: str = "203.0.113.9") -> Sent:
    headers = [(b"authorization", f"Bearer {token}".encode()), (b"x-forwarded-for", address.encode())]
    return await Sent("POST" if path.endswith(("mcp", "call", "token")) else "GET", path, 0, *headers).to(app)


@pytest.mark.parametrize("path", ["/mcp", "/servers/crm/mcp", "/status", "/metrics", "/api/platform/call"])
async def test_wrong_credentials_are_throttled_by_address_and_recorded(platform: Platform, path: str) -> None:
    app = build_app(platform)
    found = [await ask(app, path, f"{SHOWN}{n}".replace("abcdefghijkl", f"abcdefghij{n:02d}")) for n in range(20)]
    assert [sent.status for sent in found] == [401] * 6 + [429] * 14
    assert all(1 <= int(sent.headers["retry-after"]) <= 60 for sent in found[6:])
    assert (await ask(app, path, SHOWN, "198.51.100.1")).status == 401
    good = await ask(app, path, platform.access.local_key())
    assert good.status not in (401, 429)
    await written(platform)
    recorded = events(platform)
    assert sum((e["data"].get("repeated") or {"count": 1})["count"] for e in recorded) == 21
    assert {e["data"]["address"] for e in recorded} == {"203.0.113.9", "198.51.100.1"}
    assert "SECRET" not in orjson.dumps(recorded).decode()
    assert b"workbench_credential_failures_total{" in platform.metrics()
    assert b'outcome="throttled"} 14.0' in platform.metrics()


async def test_platforms_with_one_redis_share_what_an_address_and_a_tenant_have_used(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    redis = RedisServer(tmp_path_factory.mktemp("r"))
    opened = [
        await Platform.open(Settings.load(
            env={}, cwd=tmp_path, home=tmp_path / name, servers=(), port="8800", app=False, audit_min_free_bytes=1,
            failed_credentials_per_minute=6, trusted_proxies=("127.0.0.1",), redis_url=redis.url,
        ))
        for name in ("first", "second")
    ]  # fmt: skip
    try:
        first, second = (build_app(platform) for platform in opened)
        tokens = [f"{SHOWN}{n}".replace("abcdefghijkl", f"abcdefghij{n:02d}") for n in range(8)]
        assert [(await ask(first, "/mcp", token)).status for token in tokens[:6]] == [401] * 6
        assert [(await ask(second, path, tokens[6])).status for path in ("/mcp", "/status")] == [429, 429]
        assert (await ask(second, "/mcp", tokens[7], "198.51.100.1")).status == 401
        quotas = [platform.audit.quota for platform in opened]
        assert all(isinstance(quota, SharedByteQuota) for quota in quotas)
        for quota in quotas:
            quota.add("acme", 1000)
            await quota.settle()  # type: ignore[attr-defined]
        assert quotas[1].elsewhere["acme"] == 1000
    finally:
        for platform in opened:
            await platform.close()
        redis.kill()


async def test_many_failures_are_few_records_and_a_saved_question_adds_them_up(platform: Platform) -> None:
    app = build_app(platform)
    for _ in range(200):
        await ask(app, "/mcp", SHOWN)
    await written(platform)
    assert len(events(platform)) < 20
    reader = Reader(platform.settings.home)
    try:
        question = next(q for q in questions() if q.name == "failed_credentials")
        rows = reader.sql(question.sql, question.parameters).to_pylist()
    finally:
        reader.close()
    assert sum(row["times"] for row in rows) == 200
    assert {(row["address"], row["credential"]) for row in rows} == {("203.0.113.9", "mk_abcdefghijkl")}


async def test_clients_of_the_authorization_server_are_counted_too(platform: Platform) -> None:
    app = build_app(platform)
    statuses = []
    for n in range(10):
        body = f"grant_type=client_credentials&client_id=nobody{n}&client_secret=x".encode()
        sent = Sent(
            "POST", "/oauth/token", len(body), (b"content-type", b"application/x-www-form-urlencoded"),
            (b"x-forwarded-for", b"203.0.113.9"),
        )  # fmt: skip
        sent.content = body
        statuses.append((await sent.to(app)).status)
    assert statuses[:3] == [401] * 3
    assert statuses[-1] == 429
    await asyncio.sleep(0)
    assert platform.access.admission.failures.counts["oauth", "throttled"] >= 1


async def test_a_request_that_shows_nothing_is_counted_and_not_recorded(platform: Platform) -> None:
    app = build_app(platform)
    for _ in range(30):
        assert (await Sent("GET", "/status", 0).to(app)).status == 401
    assert platform.access.admission.failures.counts == {("rest", "missing"): 30}
    assert events(platform) == []
