"""How long a value is believed, and what happens when it is refused, replaced, or nobody can say."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.secrets.conftest import Safe
from workbench.config import Settings
from workbench.secrets import SecretNotFoundError, SecretResolver


async def test_a_secret_is_read_once_and_anew_after_its_time(secrets: SecretResolver, safe: Any, ticks: Any) -> None:
    safe.current["T"] = "first value"
    assert [await secrets.fetch("secret:T") for _ in range(5)] == ["first value"] * 5
    assert safe.asked == 1
    safe.current["T"] = "second value"
    ticks.now = 299
    assert await secrets.fetch("secret:T") == "first value"
    ticks.now = 300
    assert await secrets.fetch("Bearer ${secret:T}") == "Bearer second value"
    assert safe.asked == 2


async def test_a_source_that_is_down_keeps_the_last_value_until_its_bound(
    secrets: SecretResolver, safe: Any, ticks: Any
) -> None:
    safe.current["T"] = "first value"
    await secrets.fetch("secret:T")
    safe.down = True
    for ticks.now in (301, 302, 1000, 3599):
        assert await secrets.fetch("secret:T") == "first value"
        assert secrets.read("secret:T") == "first value"
    ticks.now = 3600
    with pytest.raises(SecretNotFoundError, match="does not answer"):
        await secrets.fetch("secret:T")
    with pytest.raises(SecretNotFoundError, match="does not answer"):
        secrets.read("secret:T")
    asked = safe.asked
    with pytest.raises(SecretNotFoundError):
        await secrets.fetch("secret:T")
    assert safe.asked == asked  # not at every call
    safe.down = False
    ticks.now += 5
    assert await secrets.fetch("secret:T") == "first value"


async def test_a_secret_that_was_taken_away_is_not_given_out(secrets: SecretResolver, safe: Any, ticks: Any) -> None:
    safe.current["T"] = "first value"
    await secrets.fetch("secret:T")
    del safe.current["T"]
    ticks.now = 300
    with pytest.raises(SecretNotFoundError, match="none of env"):
        await secrets.fetch("secret:T")


async def test_a_refused_value_is_read_anew_at_once_but_not_again_and_again(
    secrets: SecretResolver, safe: Any, ticks: Any
) -> None:
    safe.current["T"] = "first value"
    await secrets.fetch("secret:T")
    safe.current["T"] = "second value"
    assert await secrets.renew("Bearer ${secret:T}", "Bearer first value") == "Bearer second value"
    assert await secrets.fetch("secret:T") == "second value"
    assert await secrets.renew("secret:T", "first value") == "second value"  # refused before the others renewed it
    asked = safe.asked
    for _ in range(5):
        assert await secrets.renew("secret:T", "second value") is None
    assert safe.asked == asked
    ticks.now = 10
    safe.current["T"] = "third value"
    assert await secrets.renew("secret:T", "second value") == "third value"


async def test_during_a_rotation_the_pending_version_is_taken_when_the_current_one_is_refused(
    secrets: SecretResolver, safe: Any, ticks: Any
) -> None:
    safe.current["T"], safe.next["T"] = "first value", "second value"
    assert await secrets.fetch("secret:T") == "first value"
    assert await secrets.renew("secret:T", "first value") == "second value"
    assert await secrets.fetch("secret:T") == "second value"
    safe.current, safe.next = {"T": "second value"}, {}
    ticks.now = 400
    assert await secrets.fetch("secret:T") == "second value"
    assert await secrets.renew("secret:T", "second value") is None


async def test_what_follows_a_value_is_not_asked_of_a_source_that_did_not_give_it(
    settings: Settings, safe: Safe, ticks: Any
) -> None:
    other = Safe()
    secrets = SecretResolver(settings.replace(secrets=("env", "aws")), ticks=ticks, sources={"env": safe, "aws": other})
    safe.current["T"], other.current["T"], other.next["T"] = "first value", "another's value", "another's next"
    assert await secrets.fetch("secret:T") == "first value"
    assert await secrets.renew("secret:T", "first value") is None
    assert await secrets.fetch("secret:T") == "first value"
    assert other.asked == 0


async def test_renewing_from_a_source_that_is_down_gives_nothing_else(secrets: SecretResolver, safe: Any) -> None:
    safe.current["T"] = "first value"
    await secrets.fetch("secret:T")
    safe.down = True
    assert await secrets.renew("secret:T", "first value") is None
    assert await secrets.fetch("secret:T") == "first value"


def test_many_threads_read_a_secret_once(secrets: SecretResolver, safe: Any) -> None:
    safe.current["T"] = "first value"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: secrets.read("secret:T"), range(32)))
    assert (set(found), safe.asked) == ({"first value"}, 1)


def test_a_value_that_is_due_is_read_behind_the_one_who_wants_it(
    secrets: SecretResolver, safe: Any, ticks: Any
) -> None:
    safe.current["T"] = "first value"
    assert secrets.read("secret:T") == "first value"
    read, done = safe.read, threading.Event()
    reading = threading.Event()

    def slow(name: str) -> Any:
        reading.set()
        assert done.wait(10)
        return read(name)

    safe.read = slow
    safe.current["T"] = "second value"
    ticks.now = 300
    assert secrets.read("secret:T") == "first value"  # while the source is being asked
    assert reading.wait(10)
    assert secrets.read("secret:T") == "first value"
    done.set()
    with secrets._kept[next(iter(secrets._kept))].lock:  # held while it is read
        pass
    assert secrets.read("secret:T") == "second value"


def test_where_a_secret_comes_from_is_told_without_its_value(secrets: SecretResolver, safe: Any, ticks: Any) -> None:
    safe.current["T"] = "canary-canary"
    found = secrets.where(["Bearer ${secret:T}", "secret:LOST"])
    assert [(o.reference, o.source) for o in found] == [("secret:LOST", ""), ("secret:T", "env")]
    assert "none of env" in found[0].problem
    assert "canary" not in repr(found) + repr(secrets) + str([o.to_dict() for o in found])
