"""Addresses behind proxies, and wrong credentials: who is counted as whom, and who has to wait."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.access import failed_credentials
from workbench.access.client_address import MAX_HOPS, ClientAddresses, counted
from workbench.access.failed_credentials import CredentialFailure, CredentialFailures, name_of

PROXY = "10.0.0.1"

CHAINS: dict[str, tuple[str, list[tuple[bytes, bytes]], str]] = {
    "no proxy": ("203.0.113.9", [], "203.0.113.9"),
    "a stranger who claims": ("203.0.113.9", [(b"x-forwarded-for", b"198.51.100.1")], "203.0.113.9"),
    "a proxy that states": (PROXY, [(b"x-forwarded-for", b"198.51.100.1")], "198.51.100.1"),
    "what a client wrote before": (PROXY, [(b"x-forwarded-for", b"192.0.2.1, 198.51.100.1")], "198.51.100.1"),
    "two proxies": (PROXY, [(b"x-forwarded-for", b"192.0.2.1, 198.51.100.1, 10.0.0.2")], "198.51.100.1"),
    "several headers": (PROXY, [(b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-for", b"8.8.8.8")], "8.8.8.8"),
    "the standard header": (PROXY, [(b"forwarded", b'for=192.0.2.1;proto=https, for="8.8.8.8:47"')], "8.8.8.8"),
    "the standard header wins": (
        PROXY, [(b"forwarded", b"for=198.51.100.1"), (b"x-forwarded-for", b"192.0.2.1")], "198.51.100.1",
    ),
    "IPv6 in the standard header": (
        PROXY, [(b"forwarded", b'proto=https;for="[2001:db8:1:2:3::4]:4711"')], "2001:db8:1:2::/64",
    ),
    "a comma in quotes": (PROXY, [(b"forwarded", b'for=192.0.2.1;by="a, for=8.8.8.8", for=9.9.9.9')], "9.9.9.9"),
    "an address with a port": (PROXY, [(b"x-forwarded-for", b"198.51.100.1:8080")], "198.51.100.1"),
    "only proxies": (PROXY, [(b"x-forwarded-for", b"10.0.0.7, 10.0.0.2")], "10.0.0.1"),
    "nonsense": (PROXY, [(b"x-forwarded-for", b"<script>")], "unknown"),
    "hidden": (PROXY, [(b"forwarded", b"for=_hidden")], "unknown"),
    "no for": (PROXY, [(b"forwarded", b"proto=https")], "unknown"),
    "IPv4 in IPv6": ("::ffff:10.0.0.1", [(b"x-forwarded-for", b"::ffff:198.51.100.1")], "198.51.100.1"),
}  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS)
def test_the_nearest_hop_that_is_no_trusted_proxy_counts(chain: str) -> None:
    peer, headers, expected = CHAINS[chain]
    addresses = ClientAddresses(["10.0.0.0/8"])
    assert addresses.of({"client": (peer, 1), "headers": headers}) == expected


def test_addresses_of_one_subscriber_are_one() -> None:
    assert counted("2001:db8:1:2:aaaa::1") == counted("2001:db8:1:2:bbbb::2") == "2001:db8:1:2::/64"
    assert counted("fe80::1%eth0") == "fe80::/64"
    assert counted("") == counted("/run/socket") == "unknown"
    assert ClientAddresses([]).of({"headers": []}) == "unknown"


def test_a_chain_without_end_is_looked_at_for_a_while() -> None:
    hops = b", ".join([b"198.51.100.1", *[b"10.0.0.2"] * (MAX_HOPS + 5)])
    assert ClientAddresses(["10.0.0.0/8"]).stated(PROXY, [(b"x-forwarded-for", hops)]) == PROXY


class Clock:
    at = 1000.0

    def __call__(self) -> float:
        return self.at


def test_an_address_waits_and_others_do_not() -> None:
    clock, told = Clock(), list[CredentialFailure]()
    counting = CredentialFailures(4, clock=clock)
    counting.on_failure = told.append
    waits = [counting.add("a", f"Bearer token-number-{n:012d}", "mcp", "no") for n in range(6)]
    assert waits == [0, 0, 0, 0, 60, 60]
    assert counting.wait("a", "Bearer quite-another-credential") == 60
    assert counting.wait("b", "Bearer quite-another-credential") == 0
    assert [each.throttled for each in told] == [False] * 4 + [True] * 2
    assert counting.counts == {("mcp", "refused"): 4, ("mcp", "throttled"): 2}
    clock.at += 60
    assert counting.wait("a", "Bearer x") == 0


def test_one_credential_waits_sooner_than_its_address() -> None:
    counting = CredentialFailures(10, clock=Clock())
    for _ in range(5):
        assert counting.add("a", "Bearer mk_abcdefghijkl_wrong", "mcp", "no") == 0
    assert counting.wait("a", "Bearer mk_abcdefghijkl_other") > 0
    assert counting.wait("a", "Bearer mk_mnopqrstuvwx_other") == 0
    assert counting.wait("b", "Bearer mk_abcdefghijkl_other") == 0


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_credentials, "MAX_REMEMBERED", 16)
    counting = CredentialFailures(5)
    for n in range(1000):
        counting.add(str(n), f"Bearer {n:030d}", "mcp", "no")
    assert len(counting._seen) <= 16
    assert all(len(times) <= 5 for times in counting._seen.values())


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        ("Bearer mk_abcdefghijkl_SECRETSECRETSECRETSECRET", "mk_abcdefghijkl"), ("Bearer hunter2", "short"),
        ("", "malformed"), ("hunter2", "malformed"), ("Basic " + "QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "other:"),
        ("Bearer eyJhbGciOiJSUzI1NiJ9.e30.SECRETSECRET", "bearer:"), ("bearer mk_abcdefghijkl_x", "mk_abcdefghijkl"),
    ],
)  # fmt: skip
def test_the_name_of_a_credential_gives_nothing_away(shown: str, name: str) -> None:
    found = name_of(shown)
    assert found.startswith(name)
    assert len(found) <= 16
    assert "SECRET" not in found


async def test_a_good_key_never_waits_and_a_token_does(open_access: Any) -> None:
    access = open_access(failed_credentials_per_minute=3)
    _, token = access.create_key("ann", roles=("viewer",))
    _, other = access.create_key("bob", roles=("viewer",))
    scope = {"client": ("203.0.113.9", 1), "headers": []}
    door = access.admission
    assert (await door.authenticate(scope, f"Bearer {token}", door="mcp")).subject == "ann"
    for n in range(3):
        with pytest.raises(failed_credentials.UnauthenticatedError) as caught:
            await door.authenticate(scope, f"Bearer wrong-credential-number-{n}", door="mcp")
        assert not isinstance(caught.value, failed_credentials.TooManyFailuresError)
    with pytest.raises(failed_credentials.TooManyFailuresError) as many:
        await door.authenticate(scope, "Bearer wrong-credential-number-9", door="mcp")
    assert 1 <= many.value.retry_after <= 60
    assert (await door.authenticate(scope, f"Bearer {token}", door="mcp")).subject == "ann"
    assert (await door.authenticate(scope, f"Bearer {other}", door="mcp")).subject == "bob"
    with pytest.raises(failed_credentials.UnauthenticatedError):
        await door.authenticate({**scope, "client": ("198.51.100.7", 1)}, "Bearer wrong", door="mcp")
