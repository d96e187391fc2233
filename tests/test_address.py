"""No URL from a caller leads into our own network, however it is spelled and wherever its name leads."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.address_guard import check_url, objection, resolve
from workbench.events import MisuseError, UnreachableError

FORBIDDEN = [
    "http://127.0.0.1/mcp",
    "http://127.1/",
    "http://127.0.0.1./",
    "http://127.0.0.1../",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://0/",
    "http://0.0.0.0/",
    "http://10.0.0.7/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://198.18.0.1/",
    "http://192.0.2.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://240.0.0.1/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[2001:0:a9fe:a9fe::1]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fc00::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://localhost/",
    "http://LOCALHOST:8080/",
    "http://localhost./",
    "http://app.localhost/",
    "http://printer.local/",
    "http://metadata.google.internal/",
    "http://user@example.com/",
    "http://user:secret@127.0.0.1/",
    "http://example.com@127.0.0.1/",
    "http://example.com\\@127.0.0.1/",
    "http://example.com#@127.0.0.1/",
    "http://example.com/#",
    "http://example.com%2f@127.0.0.1/",
    "http://%31%32%37.0.0.1/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://\u2460\u2461\u2466.0.0.1/",
    "http://exa\u200bmple.com/",
    "http://127.0.0.1\u3002example/",
    "http://exam ple.com/",
    "http://example.com\r\nHost: x/",
    "http://example.com\t/",
    "http://-example.com/",
    "http://example..com/",
    "http://example/0/".replace("example/0", "1.2.3"),
    "http://1.2.3.4.5/",
    "http:///mcp",
    "http://:80/",
    "http://example.com:0/",
    "http://example.com:99999/",
    "http://example.com:8a/",
    "https:example.com",
    "//example.com/mcp",
    "example.com/mcp",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "unix:///var/run/docker.sock",
    "javascript:alert(1)",
    "http://[::1",
    "http://[v1.fe80::a]/",
    "",
    "http://" + "a" * 2100 + ".com/",
    # --- other spellings of an address
    "http://1.1/",
    "http://0x7f.1/",
    "http://0x7F000001/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://127.0.0.0x1/",
    "http://1.0x2/",
    "http://0300.0250.0.1/",
    "http://127.000.000.001/",
    "http://00000177.1/",
    "http://4294967297/",
    "http://example.0x7f/",
    # --- addresses in other addresses
    "http://[0:0:0:0:0:ffff:7f00:1]/",
    "http://[0000:0000:0000:0000:0000:0000:0000:0001]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[::ffff:127.0.0.1%25lo]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[::7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::10.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:c0a8:101::1]/",
    "http://[fe80::5efe:7f00:1]/",
    "http://[2606:4700::5efe:7f00:1]/",
    "http://[2606:4700::200:5efe:10.0.0.1]/",
    # --- networks of special use
    "http://[2001:db8::1]/",
    "http://[2001:10::1]/",
    "http://[2001:2::1]/",
    "http://[3fff::1]/",
    "http://[5f00::1]/",
    "http://[100:0:0:1::1]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[ff0e::1]/",
    "http://[4000::1]/",
    "http://[e000::1]/",
    "http://192.88.99.1/",
    "http://192.0.0.1/",
    "http://192.0.0.9/",
    "http://192.0.0.10/",
    "http://198.51.100.7/",
    "http://203.0.113.9/",
    "http://168.63.129.16/machine/",
    "http://100.100.100.200/latest/meta-data/",
    # --- where programs disagree about which part is the host
    "http://127.0.0.1:80:80/",
    "http://[::1]:80:80/",
    "http://[127.0.0.1]/",
    "http://[example.com]/",
    "http://[::1].example.com/",
    "http://[::1]example.com/",
    "http://example.com:+80/",
    "http://example.com:-1/",
    "http://example.com:1_0/",
    "http://example.com: 80/",
    "http://example.com:\uff18\uff10/",
    "http://example.com;@127.0.0.1/",
    "http://127.0.0.1;example.com/",
    "http://127.0.0.1%00.example.com/",
    "http://127.0.0.1%2eexample.com/",
    "http://example.com%23@127.0.0.1/",
    "http://example.com%40127.0.0.1/",
    "http://127.0.0.1\\example.com/",
    "http:\\127.0.0.1/",
    "http:///127.0.0.1/",
    "http:/127.0.0.1/",
    "http:127.0.0.1",
    "http://a.com,127.0.0.1/",
    "http://example.com\x00.internal/",
    "http://example.com\x7f/",
    # --- names
    "http://localhost.localdomain/",
    "http://LocalHost.LocalDomain./",
    "http://localhost../",
    "http://foo.localhost./",
    "http://ip6-localhost/",
    "http://metadata.google.internal./",
    "http://kubernetes.default.svc.cluster.local/",
    "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/",
    "http://loc\u0430lhost/",
    "http://m\u00fcnchen.example/",
    "http://example.com../",
    "http://.example.com/",
    "http://*.example.com/",
    "http://a.b-.com/",
    "http://$(id)/",
    "http://" + "a" * 64 + ".example.com/",
    "http://" + "a." * 130 + "com/",
    # --- schemes
    "jar:http://example.com!/x",
    "dict://example.com:11211/",
    "ldap://example.com/",
    "data:application/json,{}",
    "ws://example.com/",
    "http+unix://%2fvar%2frun%2fdocker.sock/",
]


@pytest.mark.parametrize("url", FORBIDDEN, ids=lambda url: url[:50])
def test_a_url_that_does_not_lead_out_is_refused(url: str) -> None:
    with pytest.raises(MisuseError, match="cannot be registered"):
        check_url(url)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://mcp.example.com/mcp", ("https", "mcp.example.com", 443)),
        ("http://mcp.example.com:8080/a?b=c", ("http", "mcp.example.com", 8080)),
        ("HTTPS://MCP.Example.COM./mcp", ("https", "mcp.example.com", 443)),
        ("https://xn--mnchen-3ya.de/mcp", ("https", "xn--mnchen-3ya.de", 443)),
        ("https://93.184.216.34/mcp", ("https", "93.184.216.34", 443)),
        ("https://[2606:2800:220:1:248:1893:25c8:1946]/", ("https", "2606:2800:220:1:248:1893:25c8:1946", 443)),
        ("https://a_b.example.com/", ("https", "a_b.example.com", 443)),
    ],
)
def test_a_public_url_is_accepted(url: str, endpoint: tuple[str, str, int]) -> None:
    assert check_url(url) == endpoint


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/mcp", "http://localhost:9/", "http://[::1]:9/", "http://[::ffff:7f00:1]/"]
)
def test_loopback_is_accepted_only_where_it_is_allowed(url: str) -> None:
    assert check_url(url, local_allowed=True)
    with pytest.raises(MisuseError):
        check_url(url)


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://169.254.169.254/", "http://[fc00::1]/", "http://0.0.0.0/"])
def test_allowing_loopback_allows_nothing_else(url: str) -> None:
    with pytest.raises(MisuseError):
        check_url(url, local_allowed=True)


@given(st.ip_addresses(v=4))
def test_no_spelling_of_an_ipv4_address_in_ipv6_is_better_than_the_address(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    assert objection(ipaddress.IPv6Address((0xFFFF << 32) | number)) == objection(address)
    isatap = (0x2606_4700 << 96) | (0x0200_5EFE << 32) | number
    for embedded in (number, (0x64FF9B << 96) | number, (0x2002 << 112) | (number << 80), isatap):
        assert objection(ipaddress.IPv6Address(embedded))
    if not address.is_global:
        assert objection(address)


@given(st.text(max_size=60) | st.text("htps:/[]@#%.1270x\\localhost", max_size=40).map("http://".__add__))
def test_any_text_is_judged(url: str) -> None:
    try:
        endpoint = check_url(url)
    except MisuseError:
        return
    assert endpoint.scheme in ("http", "https")
    assert 0 < endpoint.port < 65536
    assert "." in endpoint.host or ":" in endpoint.host or endpoint.host.isalnum() or "-" in endpoint.host


def leads_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    async def answer(host: str, port: int, **_: Any) -> list[Any]:
        if not addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answer)


async def test_a_name_is_dialled_at_the_addresses_that_were_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    leads_to(monkeypatch, "93.184.216.34", "93.184.216.34", "2606:2800:220:1::1")
    assert await resolve("example.com", 443) == ["93.184.216.34", "2606:2800:220:1::1"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:7f00:1", "0.0.0.0", "100.64.0.1",
        "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "fd00:ec2::254", "168.63.129.16", "2606:4700::5efe:a00:1",
    ],
)  # fmt: skip
async def test_a_name_that_also_leads_inwards_is_not_dialled(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    leads_to(monkeypatch, "93.184.216.34", address)
    with pytest.raises(UnreachableError, match="forbidden address"):
        await resolve("rebind.example.com", 443)


async def test_a_name_that_leads_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    leads_to(monkeypatch)
    with pytest.raises(UnreachableError, match=r"'nowhere\.example' cannot be resolved"):
        await resolve("nowhere.example", 443)


async def test_loopback_resolves_where_it_is_allowed() -> None:
    assert "127.0.0.1" in await resolve("127.0.0.1", 80, local_allowed=True)
    with pytest.raises(UnreachableError):
        await resolve("127.0.0.1", 80)
